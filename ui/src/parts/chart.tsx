// Lines over time. What draws them is large, and is loaded when the first chart is shown.
import { useEffect, useState } from "preact/hooks";
import { Skeleton } from "./basics";

export interface Line {
  name: string;
  values: (number | null)[];
  /** The name of a colour of tokens.css. */
  colour: string;
  dash?: number[];
}

export interface ChartProps {
  label: string;
  /** Seconds since the epoch. */
  times: number[];
  lines: Line[];
  height?: number;
  stacked?: boolean;
  format?: (value: number) => string;
  zoom?: (from: number, to: number) => void;
}

export const DASHES: (number[] | undefined)[] = [undefined, [6, 3], [2, 3], [8, 3, 2, 3]];

let loaded: typeof import("./plot") | null = null;

export function Chart(props: ChartProps) {
  const [, render] = useState(0);
  useEffect(() => {
    if (!loaded) void import("./plot").then((found) => ((loaded = found), render(1)));
  }, []);
  return loaded ? <loaded.PlottedChart {...props} /> : <div style={{ height: `${props.height ?? 180}px` }}>{<Skeleton rows={4} />}</div>;
}
