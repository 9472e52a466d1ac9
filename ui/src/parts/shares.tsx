// Shares of roles over time.
import { DASHES, Chart } from "./chart";
import { Answer, Empty, Panel, Segments } from "./basics";
import { place, setQuery } from "../data/router";
import { SPANS, useHistory, type Span } from "../data/overview";

export function SharesPanel({ class: className, height = 200 }: { class?: string; height?: number }) {
  const query = place.value.query;
  const span = (query.get("span") as Span | null) ?? "1h";
  const [from, to] = [Number(query.get("from")) || 0, Number(query.get("to")) || 0];
  const history = useHistory(SPANS.some(([each]) => each === span) ? span : "1h", from, to);
  return (
    <Panel
      title="Share of the cluster by role"
      {...(className ? { class: className } : {})}
      tools={
        <>
          {from > 0 && (
            <button type="button" class="button quiet" onClick={() => setQuery({ from: "", to: "" })}>
              Whole span
            </button>
          )}
          <Segments label="Span of time" value={span} options={SPANS} set={(value) => setQuery({ span: value === "1h" ? "" : value, from: "", to: "" })} />
        </>
      }
    >
      <Answer query={history} rows={5}>
        {({ points }) => {
          if (points.length < 2) return <Empty title="No history yet">The first cell's owner writes a point every 10 s.</Empty>;
          const latest = points.at(-1)!;
          const names = [...new Set(points.flatMap((point) => Object.keys(point.roles)))]
            .sort((a, b) => (latest.roles[b] ?? 0) - (latest.roles[a] ?? 0) || (a < b ? -1 : 1))
            .slice(0, 8);
          const byName = [...names].sort();
          return (
            <Chart
              label="Share of the cluster by role"
              height={height}
              times={points.map((point) => point.at)}
              lines={names.map((name) => {
                const index = byName.indexOf(name);
                return {
                  name: name === "*" ? "* (no role)" : name,
                  colour: `role-${index % 8}`,
                  values: points.map((point) => point.roles[name] ?? 0),
                  ...(DASHES[index % 4] ? { dash: DASHES[index % 4]! } : {}),
                };
              })}
              zoom={(start, end) => setQuery({ from: String(Math.round(start)), to: String(Math.round(end)) })}
            />
          );
        }}
      </Answer>
    </Panel>
  );
}
