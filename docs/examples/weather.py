#!/usr/bin/env python3
"""weather: an example command that leaves its token to keylease."""

import os
import urllib.request

import click

from keylease import LiveSession, authentication_service, parse_url, require_session

API = os.environ.get("WEATHER_API", "https://api.weather.example")


@click.group()
def weather() -> None:
    """Tell what the sky is doing."""


@weather.command()
@click.argument("city")
@require_session(API)
def today(city: str, session: LiveSession) -> None:
    """Tell today's weather in CITY."""
    token = str(session.credential().secret.reveal(), "ascii")  # a copy that cannot be wiped
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{API}/{city}", headers=headers)  # noqa: S310 - our own API
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        click.echo(answer.read())


@weather.command()
def logout() -> None:
    """End the session."""
    ended = authentication_service().logout(*parse_url(API))
    click.echo(f"sessions ended: {len(ended)}")


if __name__ == "__main__":
    weather()
