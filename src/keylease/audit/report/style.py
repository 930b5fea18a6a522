"""The look of the report, for screens light and dark, narrow and wide, and for paper.

One style sheet inside the page. The page's policy names it by its digest, so no other can get in;
hence nothing in the page has a style of its own.
"""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1d2126; --soft: #59616b; --line: #dfe2e6;
  --calm: #2b6a8c; --calm-soft: #9fc0d1; --good: #1f6f4a; --bad: #a8322a; --warn: #8a5a00;
  --good-back: #eaf4ee; --bad-back: #fbeceb; --warn-back: #fbf3e2;
  --h1: #e3eef4; --h2: #b9d5e3; --h3: #79aec8; --h4: #2b6a8c; --h-ink: #10262f; --h-inv: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181b; --card: #1c2024; --ink: #e4e6e8; --soft: #a0a8b0; --line: #343a40;
    --calm: #74b3d1; --calm-soft: #3b5d6e; --good: #7cc79d; --bad: #f0958d; --warn: #e2b45c;
    --good-back: #1b2a22; --bad-back: #331f1e; --warn-back: #2e2718;
    --h1: #20323b; --h2: #2c4c5b; --h3: #417890; --h4: #86c2de; --h-ink: #e4e6e8; --h-inv: #0d1b22;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem;
  background: var(--page); color: var(--ink);
  font: 0.9375rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1 { margin: 0; font-size: 1.625rem; font-weight: 600; letter-spacing: -0.01em; }
h2 { margin: 0 0 0.25rem; font-size: 1.125rem; font-weight: 600; }
p { margin: 0.25rem 0; max-width: 46rem; }
section { margin-top: 2.75rem; }
.soft, caption, footer, .note { color: var(--soft); }
.period { margin: 0.25rem 0 0; }
bdi { overflow-wrap: anywhere; }
.escape {
  font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: 0.86em;
  color: var(--bad); border: 1px solid var(--bad); border-radius: 3px; padding: 0 0.2em;
  white-space: nowrap;
}
.none { color: var(--soft); font-style: italic; }
.verdict {
  margin-top: 1.75rem; padding: 1rem 1.25rem; border: 1px solid; border-left-width: 0.375rem;
  border-radius: 4px;
}
.verdict h2 { font-size: 1.0625rem; }
.verdict p { color: var(--ink); }
.good { background: var(--good-back); border-color: var(--good); }
.good h2 { color: var(--good); }
.doubt { background: var(--warn-back); border-color: var(--warn); }
.doubt h2 { color: var(--warn); }
.bad { background: var(--bad-back); border-color: var(--bad); }
.bad h2 { color: var(--bad); }
dl { margin: 0.5rem 0 0; display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
dl.figures {
  margin-top: 1.75rem; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1rem;
}
dl.figures > div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
dl.figures dd { font-size: 1.75rem; font-weight: 600; line-height: 1.2; }
dl.figures .bad-figure { color: var(--bad); }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--calm); outline-offset: 4px; }
table { width: 100%; margin-top: 0.75rem; border-collapse: collapse; }
caption { text-align: left; padding-bottom: 0.5rem; max-width: 46rem; }
th, td { padding: 0.4rem 0.75rem 0.4rem 0; text-align: left; vertical-align: top; }
th { font-weight: 500; }
thead th { color: var(--soft); font-size: 0.8125rem; vertical-align: bottom; white-space: nowrap; }
tr { border-bottom: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; }
.time { white-space: nowrap; }
.matters { color: var(--bad); font-weight: 600; }
.user { display: block; color: var(--soft); font-size: 0.8125rem; }
svg { display: block; overflow: visible; }
svg text { fill: var(--soft); font-size: 0.75rem; font-family: inherit; }
.used { fill: var(--calm); }
.idle { fill: var(--calm-soft); }
.open { fill: none; stroke: var(--calm); stroke-width: 1.5; stroke-dasharray: 3 3; }
.tick { stroke: var(--line); stroke-width: 1; }
.end { stroke: var(--ink); stroke-width: 2; }
.end-bad { stroke: var(--bad); stroke-width: 3; }
.released { fill: var(--calm); }
.refused { fill: var(--bad); }
.axis { width: 42%; }
.sessions td { vertical-align: middle; }
.sessions thead th { padding-bottom: 0; }
.sessions .day th { padding: 1rem 0 0.2rem; color: var(--soft); font-size: 0.8125rem; }
.sessions tbody th { width: 24%; }
.program { min-width: 11rem; }
.pair td { vertical-align: middle; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 3rem; }
.key { display: inline-flex; align-items: center; gap: 0.4rem; margin-right: 1.25rem; }
.key svg { display: inline-block; }
.heat { font-size: 0.8125rem; }
.heat td, .heat thead th { padding: 0.3rem 0; text-align: center; min-width: 1.75rem; }
.heat thead th:first-child { text-align: left; }
.heat tbody th { min-width: 9rem; padding-right: 1rem; }
.heat td { border: 2px solid var(--page); border-radius: 4px; vertical-align: middle; }
.heat tr { border-bottom: 0; }
.h0 { color: var(--soft); }
.h1 { background: var(--h1); color: var(--h-ink); }
.h2 { background: var(--h2); color: var(--h-ink); }
.h3 { background: var(--h3); color: var(--h-ink); }
.h4 { background: var(--h4); color: var(--h-inv); }
.total { font-weight: 600; }
.days { margin-top: 0.75rem; }
details { margin-top: 0.5rem; }
summary { cursor: pointer; color: var(--soft); }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 44rem) {
  body { padding: 1.5rem 1rem 3rem; }
  dl.figures { grid-template-columns: repeat(3, auto); }
  .pair { grid-template-columns: 1fr; }
  .stack thead {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  }
  .stack, .stack tbody, .stack caption { display: block; }
  .stack tr { display: block; padding: 0.6rem 0; }
  .stack td { display: inline-block; padding: 0.1rem 1rem 0.1rem 0; text-align: left; }
  .stack tbody th, .stack .axis, .stack .target {
    display: block; width: 100%; padding: 0.1rem 0; text-align: left;
  }
  .stack td .user { display: inline; margin-left: 0.5rem; }
  .stack .time { white-space: normal; }
  .stack td[data-label]::before { content: attr(data-label) " "; color: var(--soft); }
  .stack .axis { padding: 0.3rem 0; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 9pt; background: none; }
  section { margin-top: 1.5rem; }
  tr, .verdict, .figures { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  rect, td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
