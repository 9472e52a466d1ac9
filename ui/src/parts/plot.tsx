// Lines over time, by uPlot. Colours and dashes follow the tokens; the values under the pointer are in the legend.
import uPlot from "uplot";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { clock, percent } from "../data/format";
import { painted, zone } from "../data/prefs";
import type { ChartProps, Line } from "./chart";
import { resolver } from "./heatmap";

export function PlottedChart({ label, times, lines, height = 180, stacked = false, format = percent, zoom }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [under, setUnder] = useState<number | null>(null);
  const colours = painted.value;
  const utc = zone.value === "utc";
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current!.clientWidth));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const shape = lines.map((line) => line.name).join("\n");
  const plot = useRef<uPlot | null>(null);
  const drawn = stacked ? stack(lines) : lines.map((line) => line.values);
  useEffect(() => {
    if (!width) return;
    const resolve = resolver(box.current!);
    const font = `11px ${getComputedStyle(box.current!).fontFamily}`;
    const axis = { stroke: resolve("muted"), font, grid: { stroke: resolve("line"), width: 1 }, ticks: { show: false } };
    const options: uPlot.Options = {
      width,
      height,
      legend: { show: false },
      padding: [8, 8, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: zoom !== undefined, y: false, setScale: false } },
      ...(utc ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") } : {}),
      scales: { y: { range: (_, __, max) => [0, format === percent && max > 0.75 && max <= 1.001 ? 1 : niceTop(max || 0)] } },
      axes: [
        { ...axis, size: 24, gap: 4, space: 72, values: (_, all) => all.map((each) => clock(each, false).slice(-5)) },
        { ...axis, size: 48, gap: 6, space: 32, values: (_, all) => all.map(format) },
      ],
      series: [
        {},
        ...lines.map((line, index) => ({
          stroke: resolve(line.colour),
          width: 1.75,
          ...(line.dash ? { dash: line.dash } : {}),
          ...(stacked ? { fill: fade(resolve(line.colour)) } : {}),
          points: { show: false },
          label: line.name || String(index),
        })),
      ],
      hooks: {
        setCursor: [(self) => setUnder(self.cursor.idx ?? null)],
        setSelect: [
          (self) => {
            if (zoom && self.select.width > 4) zoom(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"));
            self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
      },
    };
    plot.current = new uPlot(options, [times, ...drawn] as uPlot.AlignedData, box.current!);
    return () => plot.current?.destroy();
  }, [width, height, colours, shape, utc, stacked]);
  useEffect(() => {
    plot.current?.setData([times, ...drawn] as uPlot.AlignedData);
  }, [times, lines]);
  const at = under ?? times.length - 1;
  return (
    <figure>
      <div class="chart" ref={box} role="img" aria-label={`${label}; now ${lines.map((line) => `${line.name} ${format(line.values.at(-1) ?? 0)}`).join(", ")}`} style={{ height: `${height}px` }} />
      <figcaption class="legend">
        {lines.map((line) => (
          <span key={line.name}>
            <svg width="16" height="8" aria-hidden="true">
              <line x1="0" x2="16" y1="4" y2="4" stroke={`var(--${line.colour})`} stroke-width="2" stroke-dasharray={line.dash?.join(" ")} />
            </svg>
            {line.name} {line.values[at] === null || line.values[at] === undefined ? "–" : format(line.values[at]!)}
          </span>
        ))}
        {times[at] !== undefined && <span>{clock(times[at]!)}</span>}
      </figcaption>
    </figure>
  );
}

function niceTop(max: number): number {
  if (max <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  for (const step of [1, 1.5, 2, 3, 4, 5, 7.5, 10]) if (max * 1.05 <= step * power) return step * power;
  return 10 * power;
}

function stack(lines: Line[]): (number | null)[][] {
  const below: number[] = [];
  return lines.map((line) => line.values.map((value, index) => (below[index] = (below[index] ?? 0) + (value ?? 0))));
}

function fade(colour: string): string {
  return colour.replace(/^rgb\(([^)]*)\)$/, "rgba($1, 0.14)");
}
