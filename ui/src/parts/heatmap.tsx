// A map of squares on a canvas: all agents, or all tasks of a job. The table beside it has the same data.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { painted } from "../data/prefs";

export interface Square {
  id: string;
  /** The name of a colour of tokens.css, without the two dashes. */
  colour: string;
  /** Drawn with stripes: what is shown may be old. */
  hatched?: boolean;
  /** Drawn as a frame only, so that it is told without its colour. */
  hollow?: boolean;
}

export interface Group {
  name: string;
  squares: Square[];
}

interface Placed {
  cells: { square: Square; x: number; y: number }[];
  labels: { text: string; x: number; y: number }[];
  rows: number[][];
  height: number;
}

const LABEL = 16;
/** The space between two groups in a line. */
const BETWEEN = 12;

function layout(groups: Group[], width: number, size: number, gap: number): Placed {
  const step = size + gap;
  const labelled = groups.length > 1 || !!groups[0]?.name;
  const placed: Placed = { cells: [], labels: [], rows: [], height: 0 };
  let x = 0;
  let y = 0;
  let lineHeight = 0;
  for (const group of groups) {
    const count = group.squares.length;
    if (!count) continue;
    // A group is as wide as it needs, and as high as it then is; groups stand beside each other.
    let columns = Math.max(1, Math.floor((width + gap) / step));
    if (groups.length > 1) {
      const wanted = Math.max(Math.ceil(Math.sqrt(count * 2.2)), Math.ceil((group.name.length * 6.2 + 4) / step));
      let beside = Math.floor((width + BETWEEN) / (wanted * step + BETWEEN));
      // Narrower ones, if all of them fit into one line then.
      if (beside < groups.length && groups.length <= 2 * beside && beside > 2) beside = groups.length;
      // Large groups share the whole width; of small ones as many stand in a line as there is room for.
      columns = Math.min(columns, beside > 2 && beside !== groups.length ? wanted : Math.floor(((width + BETWEEN) / Math.max(1, beside) - BETWEEN + gap) / step));
    }
    const lines = Math.ceil(count / columns);
    const groupWidth = columns * step;
    const groupHeight = lines * step + (labelled ? LABEL : 0);
    if (x > 0 && x + groupWidth - gap > width) {
      x = 0;
      y += lineHeight + 10;
      lineHeight = 0;
    }
    if (labelled && group.name) placed.labels.push({ text: group.name, x, y: y + 11 });
    group.squares.forEach((square, index) => {
      const column = index % columns;
      const line = Math.floor(index / columns);
      placed.cells.push({ square, x: x + column * step, y: y + (labelled ? LABEL : 0) + line * step });
    });
    lineHeight = Math.max(lineHeight, groupHeight);
    x += groupWidth + BETWEEN;
  }
  placed.height = Math.ceil(y + lineHeight);
  return placed;
}

export function HeatMap(props: {
  label: string;
  groups: Group[];
  version: unknown;
  size?: number;
  card: (id: string) => ComponentChildren;
  open: (id: string) => void;
  max?: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState(-1);
  const [pointed, setPointed] = useState(false);
  const total = props.groups.reduce((sum, group) => sum + group.squares.length, 0);
  const size = props.size ?? (total > 4000 ? 7 : total > 1200 ? 9 : total > 300 ? 12 : total > 60 ? 16 : total > 24 ? 22 : 34);
  const gap = size > 9 ? 2 : 1;
  const placed = useMemo(() => (width ? layout(props.groups, width, size, gap) : null), [props.version, width, size, props.groups.length]);
  const colours = painted.value;

  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(Math.floor(box.current!.clientWidth)));
    observer.observe(box.current!);
    setWidth(Math.floor(box.current!.clientWidth));
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (!placed) return;
    const element = canvas.current!;
    const ratio = window.devicePixelRatio || 1;
    element.width = Math.round(width * ratio);
    element.height = Math.round(Math.max(placed.height, 1) * ratio);
    element.style.height = `${placed.height}px`;
    const context = element.getContext("2d")!;
    context.scale(ratio, ratio);
    context.clearRect(0, 0, width, placed.height);
    const resolve = resolver(element);
    context.font = `500 11px ${getComputedStyle(element).fontFamily}`;
    context.fillStyle = resolve("muted");
    for (const label of placed.labels) context.fillText(label.text, label.x, label.y);
    // By colour: changing the colour of a canvas costs more than a square.
    const byColour = new Map<string, number[]>();
    placed.cells.forEach(({ square }, index) => {
      const list = byColour.get(square.colour);
      if (list) list.push(index);
      else byColour.set(square.colour, [index]);
    });
    for (const [colour, indices] of byColour) {
      context.fillStyle = context.strokeStyle = resolve(colour);
      context.lineWidth = 1.5;
      for (const index of indices) {
        const { square, x, y } = placed.cells[index]!;
        if (square.hollow) context.strokeRect(x + 0.75, y + 0.75, size - 1.5, size - 1.5);
        else if (square.hatched) {
          context.globalAlpha = 0.35;
          context.fillRect(x, y, size, size);
          context.globalAlpha = 1;
          context.beginPath();
          context.moveTo(x, y + size);
          context.lineTo(x + size, y);
          context.stroke();
        } else context.fillRect(x, y, size, size);
      }
    }
    const current = placed.cells[at];
    if (current) {
      context.strokeStyle = resolve("text");
      context.lineWidth = 2;
      context.strokeRect(current.x - 1, current.y - 1, size + 2, size + 2);
    }
  }, [placed, at, colours]);

  useEffect(() => {
    if (placed && at >= placed.cells.length) setAt(-1);
  }, [placed]);

  const find = (event: PointerEvent | MouseEvent): number => {
    if (!placed) return -1;
    const bounds = canvas.current!.getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    return placed.cells.findIndex((cell) => x >= cell.x - gap && x < cell.x + size && y >= cell.y - gap && y < cell.y + size);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!placed?.cells.length) return;
    const here = placed.cells[Math.max(at, 0)]!;
    let next = at;
    if (event.key === "ArrowRight") next = at + 1;
    else if (event.key === "ArrowLeft") next = at - 1;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = placed.cells.length - 1;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const down = event.key === "ArrowDown";
      let best = Infinity;
      placed.cells.forEach((cell, index) => {
        if (down ? cell.y <= here.y : cell.y >= here.y) return;
        const distance = Math.abs(cell.y - here.y) * 4 + Math.abs(cell.x - here.x);
        if (distance < best) [best, next] = [distance, index];
      });
    } else if (event.key === "Enter" && at >= 0) return props.open(here.square.id);
    else return;
    event.preventDefault();
    setPointed(false);
    setAt(Math.max(0, Math.min(placed.cells.length - 1, next)));
  };
  const current = placed && at >= 0 ? placed.cells[at] : undefined;
  return (
    <div class="map" ref={box} style={props.max ? { maxHeight: `${props.max}px`, overflow: "auto" } : {}}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-roledescription="map"
        aria-label={`${props.label}: ${total} squares. Arrow keys move, Enter opens. The table has the same data.`}
        style={{ cursor: current && pointed ? "pointer" : "default" }}
        onPointerMove={(event) => {
          setPointed(true);
          setAt(find(event));
        }}
        onPointerLeave={() => setAt(-1)}
        onClick={(event) => {
          const found = find(event);
          if (found >= 0) props.open(placed!.cells[found]!.square.id);
        }}
        onBlur={() => setAt(-1)}
        onKeyDown={onKeyDown}
      />
      {current && (
        <div
          class="card"
          style={{ left: `${Math.max(0, Math.min(current.x + size + 8, width - 230))}px`, top: `${current.y + size + 8}px` }}
        >
          {props.card(current.square.id)}
        </div>
      )}
      <div class="hidden" aria-live="polite">
        {current && !pointed ? props.card(current.square.id) : null}
      </div>
    </div>
  );
}

/** Resolves colours of tokens for a canvas, which knows no variables and no light-dark(). */
export function resolver(element: Element): (name: string) => string {
  const probe = document.createElement("i");
  probe.style.display = "none";
  element.parentElement!.append(probe);
  const found = new Map<string, string>();
  queueMicrotask(() => probe.remove());
  return (name) => {
    let colour = found.get(name);
    if (colour === undefined) {
      probe.style.color = `var(--${name})`;
      found.set(name, (colour = getComputedStyle(probe).color));
    }
    return colour;
  };
}

/** The step of the ramp for a share from 0 to 1. */
export function ramp(share: number): string {
  return share <= 0.001 ? "use-0" : `use-${Math.min(6, 1 + Math.floor(share * 5.999))}`;
}
