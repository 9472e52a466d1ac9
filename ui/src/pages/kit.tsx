// Every part in every state, on one page: for looking at them, and for tests of pictures.
import "./common";
import { ApiError } from "../data/request";
import { Bar, Empty, Failed, Legend, Meter, Missing, Panel, Segments, Skeleton, Tile } from "../parts/basics";
import { Chart, DASHES } from "../parts/chart";
import { confirm } from "../parts/dialog";
import { HeatMap, type Group } from "../parts/heatmap";
import { Notice, State } from "../parts/icons";
import { Lanes } from "../parts/lanes";
import { pieces } from "../parts/ansi";
import { VirtualTable } from "../parts/table";

const STATES = "running ready staging waiting finished failed killed lost unreachable draining drained deactivated subscribed disconnected warning".split(" ");
const ROLES = ["eng", "eng/db", "ops", "research", "web", "data", "ci", "*"];
const BASE = 1_767_000_000;
const TIMES = Array.from({ length: 120 }, (_, at) => BASE + at * 30);
const ROWS = Array.from({ length: 300 }, (_, at) => ({ id: `row-${at}`, value: (at * 37) % 100 }));
const GROUPS: Group[] = ["r01", "r02", "r03", "r04"].map((name, group) => ({
  name,
  squares: Array.from({ length: 60 }, (_, at) => ({ id: `${name}-${at}`, colour: at % 23 === 22 ? "away" : `use-${(at * 5 + group) % 7}`, hollow: at % 23 === 22, hatched: group === 3 && at > 40 })),
}));

export function KitPage() {
  return (
    <>
      <div class="head">
        <h1>Kit</h1>
        <span class="muted">every part in every state</span>
      </div>
      <div class="grid">
        <Panel title="States" class="third">
          <div class="chips">
            {STATES.map((state) => (
              <State key={state} state={state} />
            ))}
          </div>
        </Panel>
        <Panel title="Buttons and fields" class="third">
          <div class="toolbar">
            <button type="button" class="button">Button</button>
            <button type="button" class="button main">Main</button>
            <button type="button" class="button danger">Danger…</button>
            <button type="button" class="button quiet">Quiet</button>
            <button type="button" class="button" aria-disabled="true" title="ann has no right to drain">Not yours</button>
            <input class="field" aria-label="A field" placeholder="Filter" />
            <Segments label="A choice" value="b" options={[["a", "One"], ["b", "Two"], ["c", "Three"]]} set={() => undefined} />
            <button
              type="button"
              class="button danger"
              onClick={() => confirm({ title: "Drain 12 agents", danger: true, verb: "Drain", effect: ["Kills 20 tasks of 3 frameworks on 12 agents."], type: "12", command: "bmesos agents drain node-1 …", run: async () => { throw new Error("This is only the kit: nothing is drained."); } })}
            >
              Dialog…
            </button>
          </div>
        </Panel>
        <Panel title="Bars" class="third">
          <div style={{ display: "grid", gap: "10px" }}>
            <Meter name="cpus" used={20} offered={4} total={32} />
            <Meter name="mem" used={61440} total={65536} />
            <span style={{ display: "flex" }}>
              <Bar tall label="a job" total={1000} parts={[{ name: "finished", value: 700, class: "c-good" }, { name: "running", value: 120, class: "c-busy" }, { name: "waiting", value: 150, class: "c-wait" }, { name: "failed", value: 30, class: "c-bad" }]} />
            </span>
            <span style={{ display: "flex" }}>
              <Bar tall label="a role" total={1} parts={[{ name: "share", value: 0.41, class: "c-use" }]} marks={[{ at: 0.25, title: "guarantee" }, { at: 0.7, title: "limit" }]} />
            </span>
            <Legend entries={[["used", "c-use"], ["offered", "c-offer"], ["reserved", "c-held"]]} />
          </div>
        </Panel>
        <div class="full">
          <div class="tiles">
            <Tile name="Agents ready" value="9,959" of="of 10,000" more="41 away" />
            <Tile name="Tasks running" value="182k" more="12 staging" />
            <Tile name="Tasks waiting" value="3,120" more="most: no gpus" />
            <Tile name="CPUs" value="81 %" of="used" more="260,000 of 320,000" />
          </div>
        </div>
        <Panel title="Map" class="half">
          <HeatMap label="Kit" groups={GROUPS} version={1} card={(id) => <strong>{id}</strong>} open={() => undefined} />
        </Panel>
        <Panel title="Chart" class="half">
          <Chart label="Kit" times={TIMES} lines={ROLES.map((name, at) => ({ name, colour: `role-${at}`, values: TIMES.map((_, x) => 0.05 + at * 0.05 + 0.02 * Math.sin(x / 9 + at)), ...(DASHES[at % 4] ? { dash: DASHES[at % 4]! } : {}) }))} />
        </Panel>
        <Panel title="Lanes" class="half">
          <Lanes
            label="Kit"
            named
            from={BASE}
            until={BASE + 600}
            spans={Array.from({ length: 24 }, (_, at) => ({ id: `train-7.${at}`, lane: `node-${at % 5}`, state: at % 11 === 10 ? "failed" : at > 18 ? "staging" : "finished", from: BASE + at * 20, to: at > 18 ? null : BASE + at * 20 + 80 }))}
          />
        </Panel>
        <Panel title="Output" class="half" flush>
          <pre class="log" tabIndex={0} style={{ margin: 0, height: "140px", minHeight: 0 }}>
            {["plain text", "\x1b[32mgreen\x1b[0m, \x1b[1;31mbold red\x1b[0m, \x1b[33myellow\x1b[0m, \x1b[36mcyan\x1b[0m", "<script>alert(1)</script> is text", "\x1b]8;;https://example.org\x07a link is its text\x1b]8;;\x07"].map((line, at) => (
              <div key={at} class="l">
                {pieces(line).map((piece, index) => (
                  <span key={index} class={piece.class}>{piece.text}</span>
                ))}
              </div>
            ))}
          </pre>
        </Panel>
        <Panel title="Table" class="half" flush>
          <VirtualTable label="Kit" rows={ROWS} id={(row) => row.id} columns={[{ key: "id", name: "Name", width: "1fr", sortable: true, cell: (row) => row.id }, { key: "value", name: "Value", width: "120px", number: true, sortable: true, cell: (row) => row.value }]} sort="id" setSort={() => undefined} height="226px" empty="" />
        </Panel>
        <Panel title="Empty" class="third keep">
          <Empty title="No agent is registered" command="bmesos agent">An agent lends the resources of its machine. Start one on each machine:</Empty>
        </Panel>
        <Panel title="Loading" class="third keep">
          <Skeleton />
        </Panel>
        <Panel title="Failed" class="third keep">
          <Failed error={new ApiError(503, "unavailable", "no master answers within 5 s")} refresh={() => undefined} />
        </Panel>
        <Panel title="Forbidden" class="third keep">
          <Failed error={new ApiError(403, "denied", "'ann' has no right to view")} />
        </Panel>
        <Panel title="Partly" class="two">
          <Missing cells={[{ cell: 2, reason: "no answer within 2 s" }]} />
          <div style={{ height: "8px" }} />
          <Notice bad>The server does not answer. What is shown is from before.</Notice>
        </Panel>
      </div>
    </>
  );
}
