// Bars over time in lanes: the tasks of an agent, or the tasks of a job by agent.
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { clock, duration } from "../data/format";
import { painted } from "../data/prefs";
import { go, url } from "../data/router";
import { resolver } from "./heatmap";
import { State, kindOf } from "./icons";

export interface Span {
  id: string;
  lane: string;
  state: string;
  from: number;
  to: number | null;
}

const LANE = 14;
const AXIS = 18;
const MAX_LANES = 60;
const COLOUR = { good: "good", busy: "busy", wait: "line-strong", warn: "warn", bad: "bad", away: "away", drain: "drain" } as const;

export function Lanes({ label, spans, from, until, named }: { label: string; spans: readonly Span[]; from: number; until: number; named: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState<{ span: Span; x: number; y: number } | null>(null);
  const colours = painted.value;
  // In each named lane, spans that overlap are below each other.
  const { placed, lanes, hidden } = useMemo(() => {
    const byLane = new Map<string, Span[]>();
    for (const span of spans) {
      const same = byLane.get(span.lane);
      if (same) same.push(span);
      else byLane.set(span.lane, [span]);
    }
    const names = [...byLane.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const placed: { span: Span; lane: number }[] = [];
    const lanes: string[] = [];
    let hidden = 0;
    for (const name of names) {
      const base = lanes.length;
      const ends: number[] = [];
      for (const span of byLane.get(name)!.sort((a, b) => a.from - b.from)) {
        let lane = ends.findIndex((end) => end <= span.from);
        if (lane < 0) lane = ends.push(0) - 1;
        ends[lane] = span.to ?? Infinity;
        if (base + lane >= MAX_LANES) hidden += 1;
        else placed.push({ span, lane: base + lane });
      }
      for (let lane = 0; lane < Math.max(1, ends.length); lane += 1) if (lanes.length < MAX_LANES) lanes.push(lane ? "" : name);
    }
    return { placed, lanes, hidden };
  }, [spans]);
  const left = named && width > 520 ? 120 : 0;
  const height = lanes.length * LANE + AXIS;
  const scale = (time: number) => left + ((Math.min(Math.max(time, from), until) - from) / Math.max(1e-3, until - from)) * (width - left);

  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current!.clientWidth));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    const element = canvas.current!;
    const ratio = window.devicePixelRatio || 1;
    element.width = width * ratio;
    element.height = height * ratio;
    element.style.height = `${height}px`;
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    const resolve = resolver(element);
    context.font = `11px ${getComputedStyle(element).fontFamily}`;
    const ticks = Math.max(2, Math.floor((width - left) / 120));
    for (let tick = 0; tick <= ticks; tick += 1) {
      const time = from + ((until - from) * tick) / ticks;
      const x = scale(time);
      context.fillStyle = resolve("line");
      context.fillRect(Math.round(x), 0, 1, height - AXIS);
      context.fillStyle = resolve("muted");
      context.textAlign = tick === 0 ? "left" : tick === ticks ? "right" : "center";
      context.fillText(clock(time, until - from < 600), x, height - 4);
    }
    context.textAlign = "left";
    lanes.forEach((name, lane) => {
      if (!left || !name) return;
      context.fillStyle = resolve("muted");
      context.fillText(name.length > 18 ? `${name.slice(0, 17)}…` : name, 0, lane * LANE + 11);
    });
    for (const { span, lane } of placed) {
      const x = scale(span.from);
      context.fillStyle = resolve(COLOUR[kindOf(span.state)]);
      context.fillRect(x, lane * LANE + 2, Math.max(2, scale(span.to ?? until) - x), LANE - 4);
    }
  }, [placed, width, from, until, colours]);

  return (
    <div class="map" ref={box}>
      <canvas
        ref={canvas}
        role="img"
        aria-label={`${label}: ${spans.length} bars; the table has the same data`}
        style={{ cursor: at ? "pointer" : "default" }}
        onPointerMove={(event) => {
          const bounds = canvas.current!.getBoundingClientRect();
          const x = event.clientX - bounds.left;
          const y = event.clientY - bounds.top;
          const lane = Math.floor(y / LANE);
          const found = placed.find((each) => each.lane === lane && scale(each.span.from) - 2 <= x && x <= Math.max(scale(each.span.to ?? until), scale(each.span.from) + 3));
          setAt(found ? { span: found.span, x, y } : null);
        }}
        onPointerLeave={() => setAt(null)}
        onClick={() => at && go(url("tasks", at.span.id))}
      />
      {at && (
        <div class="card" style={{ left: `${Math.min(at.x + 12, Math.max(0, width - 230))}px`, top: `${at.y + 12}px` }}>
          <strong>{at.span.id}</strong>
          <State state={at.span.state} />
          <span class="muted">
            {clock(at.span.from)} · {duration((at.span.to ?? until) - at.span.from)}
          </span>
        </div>
      )}
      {hidden > 0 && <p class="muted">{hidden} more are in lanes that are not shown.</p>}
    </div>
  );
}
