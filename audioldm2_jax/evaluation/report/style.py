"""The style sheet of a report, for light and dark screens and for paper."""

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1b1f; --soft: #5b5b66; --rule: #d9d9e0;
  --mark: #2f5fb3; --bar: #7d9fd8; --warn: #8a2b00; --warn-back: #fff1e6; }
@media (prefers-color-scheme: dark) { :root { --back: #17181c; --ink: #ececf1; --soft: #a6a6b3;
  --rule: #3a3b44; --mark: #8db4ff; --bar: #4d73b5; --warn: #ffb38a; --warn-back: #3a2114; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
.facts, .note, figcaption, caption { color: var(--soft); font-size: .875rem; }
.facts { margin: 0; }
.no { color: var(--soft); }
.name { display: inline-block; min-width: 9rem; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--warn); background: var(--warn-back); color: var(--warn);
  padding: .6rem 1rem; margin-top: 1.2rem; }
.warning h2 { margin: 0; font-size: 1rem; }
.warning ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.silent { color: var(--warn); font-size: .875rem; }
.scroll { overflow-x: auto; margin-bottom: 1.2rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; font-variant-numeric: tabular-nums; }
thead th, td b { white-space: nowrap; }
td .note { display: inline-block; min-width: 14rem; overflow-wrap: anywhere; }
tbody th { font-weight: 600; min-width: 7.5rem; }
abbr { text-decoration: none; }
code { font-size: .9em; overflow-wrap: anywhere; }
audio { width: 250px; max-width: 100%; height: 36px; }
summary { cursor: pointer; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
  gap: 1.2rem; }
figure { margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.axis { stroke: var(--soft); } .grid { stroke: var(--rule); }
.curve { fill: none; stroke: var(--mark); stroke-width: 2; }
.dot { fill: var(--mark); } .intercept { fill: var(--back); stroke: var(--mark); stroke-width: 2; }
.bar { fill: var(--bar); } .whisker { stroke: var(--ink); stroke-width: 1.5; }
.curve.of1 { stroke: #b4552f; stroke-dasharray: 7 3; } .dot.of1 { fill: #b4552f; }
.curve.of2 { stroke: #2f8f5b; stroke-dasharray: 2 3; } .dot.of2 { fill: #2f8f5b; }
.curve.of3 { stroke: #8a4fb0; stroke-dasharray: 9 3 2 3; } .dot.of3 { fill: #8a4fb0; }
.curve.of4 { stroke: #9a7a00; stroke-dasharray: 4 2; } .dot.of4 { fill: #9a7a00; }
.curve.of5 { stroke: #1f8a99; stroke-dasharray: 1 2; } .dot.of5 { fill: #1f8a99; }
@media print { audio { display: none; } details > * { display: block; } }
"""
