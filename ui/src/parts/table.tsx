// A virtual table: any number of rows, of which only those in view are in the document. Grid pattern of WAI-ARIA.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { singleKeys } from "../data/prefs";
import { count } from "../data/format";

export interface Column<T> {
  key: string;
  name: string;
  width: string;
  sortable?: boolean;
  number?: boolean;
  cell: (row: T) => ComponentChildren;
}

const ROW = 32;
const MORE = 6;

export function VirtualTable<T>(props: {
  label: string;
  rows: readonly T[];
  total?: number;
  id: (row: T) => string;
  columns: Column<T>[];
  sort?: string;
  setSort?: (sort: string) => void;
  open?: (row: T) => void;
  chosen?: ReadonlySet<string>;
  choose?: (row: T) => void;
  height?: string;
  minWidth?: number;
  empty: ComponentChildren;
  onEnd?: () => void;
}) {
  const { columns } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [size, setSize] = useState(400);
  const [at, setAt] = useState(-1);
  // While a pointer or the keyboard is on a row, rows do not move away from under it.
  const [held, setHeld] = useState<readonly T[] | null>(null);
  const { rows, fresh } = useMemo(() => {
    if (!held || held === props.rows) return { rows: props.rows, fresh: 0 };
    const byId = new Map(props.rows.map((row) => [props.id(row), row]));
    const known = heldIds(held, props.id);
    return {
      rows: held.map((row) => byId.get(props.id(row)) ?? row),
      fresh: props.rows.filter((row) => !known.has(props.id(row))).length,
    };
  }, [held, props.rows]);

  useLayoutEffect(() => {
    const element = box.current!;
    const observer = new ResizeObserver(() => setSize(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => setHeld(null), [props.sort, props.rows.length === 0]);
  useEffect(() => {
    if (at >= rows.length) setAt(rows.length - 1);
  }, [rows.length]);

  const first = Math.max(0, Math.floor(top / ROW) - MORE);
  const last = Math.min(rows.length, Math.ceil((top + size) / ROW) + MORE);
  useEffect(() => {
    if (rows.length && last >= rows.length) props.onEnd?.();
  }, [last, rows.length]);

  const move = (to: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setAt(next);
    const element = box.current!;
    const y = next * ROW;
    if (y < element.scrollTop) element.scrollTop = y;
    else if (y + 2 * ROW > element.scrollTop + element.clientHeight) element.scrollTop = y + 2 * ROW - element.clientHeight;
  };
  const onKeyDown = (event: JSX.TargetedKeyboardEvent<HTMLDivElement>) => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const single = singleKeys.value === "on";
    const page = Math.max(1, Math.floor(size / ROW) - 2);
    const key = event.key;
    if (key === "ArrowDown" || (single && key === "j")) move(at + 1);
    else if (key === "ArrowUp" || (single && key === "k")) move(at - 1);
    else if (key === "PageDown") move(at + page);
    else if (key === "PageUp") move(at - page);
    else if (key === "Home") move(0);
    else if (key === "End") move(rows.length - 1);
    else if (key === "Enter" && rows[at]) props.open?.(rows[at]!);
    else if ((key === " " || (single && key === "x")) && rows[at]) props.choose?.(rows[at]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const template = { gridTemplateColumns: columns.map((each) => each.width).join(" ") };
  const style: JSX.CSSProperties = { "--vt-min": `${props.minWidth ?? 0}px` } as JSX.CSSProperties;
  if (props.height) style.height = props.height;
  else if (rows.length) style.height = `${Math.min(Math.max(rows.length, 3) + 1, 16) * ROW + 2}px`;
  return (
    <>
      {fresh > 0 && (
        <button type="button" class="button quiet" onClick={() => setHeld(null)}>
          {count(fresh)} new: show
        </button>
      )}
      <div
        ref={box}
        class="vt"
        role="grid"
        tabIndex={0}
        data-rows
        aria-label={props.label}
        aria-rowcount={(props.total ?? rows.length) + 1}
        aria-activedescendant={at >= first && at < last ? `${props.label}-${at}` : undefined}
        aria-multiselectable={props.choose ? true : undefined}
        style={style}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={onKeyDown}
        onPointerEnter={() => setHeld(props.rows)}
        onPointerLeave={() => setHeld(null)}
        onFocus={() => at < 0 && rows.length && setAt(0)}
      >
        <div class="vhead" role="rowgroup" style={{ minWidth: "var(--vt-min)" }}>
          <div class="vrow" role="row" aria-rowindex={1} style={template}>
            {props.choose && false}
            {columns.map((each) => {
              const current = props.sort === each.key ? "ascending" : props.sort === `-${each.key}` ? "descending" : "none";
              return (
                <div key={each.key} role="columnheader" class={each.number ? "num" : ""} aria-sort={each.sortable ? (current as "none") : undefined}>
                  {each.sortable && props.setSort ? (
                    <button type="button" onClick={() => props.setSort!(current === "ascending" || (current === "none" && each.number) ? `-${each.key}` : each.key)}>
                      {each.name}
                      <span class="sortmark" aria-hidden="true">{current === "ascending" ? "↑" : current === "descending" ? "↓" : ""}</span>
                    </button>
                  ) : (
                    each.name
                  )}
                </div>
              );
            })}
          </div>
        </div>
        {rows.length === 0 ? (
          <div role="row" aria-rowindex={2}>
            <div role="gridcell" aria-colspan={columns.length}>{props.empty}</div>
          </div>
        ) : (
          <div class="vbody" role="rowgroup" style={{ paddingTop: `${first * ROW}px`, paddingBottom: `${(rows.length - last) * ROW}px` }}>
            {rows.slice(first, last).map((row, offset) => {
              const index = first + offset;
              const ident = props.id(row);
              return (
                <div
                  key={ident}
                  id={`${props.label}-${index}`}
                  class={`vrow${index === at ? " at" : ""}${props.chosen?.has(ident) ? " chosen" : ""}`}
                  role="row"
                  aria-rowindex={index + 2}
                  aria-selected={props.choose ? (props.chosen?.has(ident) ?? false) : undefined}
                  style={template}
                  onClick={() => setAt(index)}
                  onDblClick={() => props.open?.(row)}
                >
                  {columns.map((each) => (
                    <div key={each.key} role="gridcell" class={each.number ? "num" : ""}>
                      {each.cell(row)}
                    </div>
                  ))}
                </div>
              );
            })}
          </div>
        )}
      </div>
    </>
  );
}

const idCache = new WeakMap<readonly unknown[], Set<string>>();

function heldIds<T>(held: readonly T[], id: (row: T) => string): Set<string> {
  let found = idCache.get(held);
  if (!found) idCache.set(held, (found = new Set(held.map(id))));
  return found;
}
