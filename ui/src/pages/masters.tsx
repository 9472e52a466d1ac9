// Masters and cells: who owns what, whether anything lags behind, take-overs, and what the doctor finds.
import { count, duration } from "../data/format";
import { useEvents, type HappenedEvent } from "../data/overview";
import { useQuery } from "../data/query";
import { ApiError, ask } from "../data/request";
import { Ago, Answer, Bar, Clock, Empty, Panel, plural, useSeconds } from "../parts/basics";
import { silence } from "../parts/events";
import { Notice, State } from "../parts/icons";
import { NoOwner, unowned, useCluster } from "../parts/owners";

export function MastersPage() {
  const cluster = useCluster();
  const loads = useQuery("loads", (signal) => ask("GET_STATE", { parts: [], limit: 0 }, signal), { every: 2 });
  const health = useQuery("health", (signal) => ask("GET_HEALTH", {}, signal), { every: 10 });
  const events = useEvents("cell", 200);
  const doctor = useQuery("doctor", (signal) => ask("GET_DOCTOR", {}, signal), { every: 15 });
  const owned = (events.data?.events ?? []).filter((event) => event.kind === "cell.owned");
  return (
    <Answer query={cluster} rows={6} heading="Masters">
      {({ masters, cells }) => {
        const idle = new Set(unowned(cluster));
        const queues = new Map((health.data?.masters ?? []).flatMap((master) => master.cells.map((cell) => [cell.cell, cell] as const)));
        return (
          <>
            <div class="head">
              <h1>Masters</h1>
              <span class="muted">
                {plural(masters.length, "master")} alive · {plural(cells.length, "cell")}
              </span>
            </div>
            <NoOwner query={cluster} />
            {masters.length === 1 && <Notice>There is one master: if it ends, nothing is decided until it is back. Start another one on another machine: bmesos master</Notice>}
            <div class="grid">
              <Panel title="Cells" class="two" flush>
                <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                  <table style={{ minWidth: "720px" }}>
                    <thead>
                      <tr>
                        <th>Cell</th>
                        <th>Owner</th>
                        <th class="num">Lease renewed</th>
                        <th class="num">Behind</th>
                        <th class="num">Round, median</th>
                        <th class="num">Round, 99%</th>
                        <th class="num">Inbox</th>
                        <th class="num">Outbox</th>
                      </tr>
                    </thead>
                    <tbody>
                      {cells.map((cell) => {
                        const load = loads.data?.loads.find((each) => each.cell === cell.cell);
                        const queue = queues.get(cell.cell);
                        const old = idle.has(cell.cell);
                        return (
                          <tr key={cell.cell}>
                            <td>{cell.cell}</td>
                            <td>{old ? <State state="failed" loud word={cell.owner ? `${cell.owner}, silent` : "no owner"} /> : <State state="ok" word={cell.owner} />}</td>
                            <td class="num nowrap">{cell.owner ? `${duration(cell.age)} ago` : "–"}</td>
                            <td class="num nowrap">{load ? duration(load.behind) : "–"}</td>
                            <td class="num nowrap">{load?.round_p50 ? duration(load.round_p50) : <span class="muted">–</span>}</td>
                            <td class="num nowrap">{load?.round_p99 ? duration(load.round_p99) : <span class="muted">–</span>}</td>
                            <td class="num">{queue?.inbox ?? <span class="muted">–</span>}</td>
                            <td class="num">{queue?.outbox ?? <span class="muted">–</span>}</td>
                          </tr>
                        );
                      })}
                    </tbody>
                  </table>
                </div>
              </Panel>
              <Panel title="Masters" class="third" flush>
                <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                  <table>
                    <thead>
                      <tr>
                        <th>Master</th>
                        <th class="num">Cells</th>
                        <th class="num">Heartbeat</th>
                      </tr>
                    </thead>
                    <tbody>
                      {masters.map((master) => (
                        <tr key={master.master_id}>
                          <td title={`process ${master.pid}, version ${master.version}`}>
                            <span class="id">{master.hostname}</span> <span class="muted">{master.master_id}</span>
                          </td>
                          <td class="num">{cells.filter((cell) => cell.owner === master.master_id).length}</td>
                          <td class="num nowrap">{duration(master.age)} ago</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
                {masters.length === 0 && <Empty title="No master is alive" command="bmesos master" />}
              </Panel>
              <Panel title="Owners of each cell, the last day" class="full">
                <Answer query={events}>{() => <Ribbons cells={cells} owned={owned} />}</Answer>
              </Panel>
              <Panel
                title="Doctor"
                class="full"
                flush
                tools={doctor.data && <span class="muted">{`${count(doctor.data.findings.filter((each) => each.level === "ok").length)} ok · ${plural(doctor.data.findings.filter((each) => each.level === "warning").length, "warning")} · ${plural(doctor.data.findings.filter((each) => each.level === "error").length, "error")}`}</span>}
              >
                <Answer query={doctor.error?.unknown ? { ...doctor, error: new ApiError(400, "invalid", "The findings are in the terminal until this server is updated.") } : doctor}>
                  {({ findings }) => {
                    const order = { error: 0, warning: 1, ok: 2 } as Record<string, number>;
                    return (
                      <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                        <table>
                          <thead>
                            <tr>
                              <th>Finding</th>
                              <th>About</th>
                              <th>What</th>
                              <th>What to do</th>
                            </tr>
                          </thead>
                          <tbody>
                            {[...findings]
                              .sort((a, b) => order[a.level]! - order[b.level]!)
                              .map((each, at) => (
                                <tr key={at}>
                                  <td>
                                    <State state={each.level} loud={each.level !== "ok"} />
                                  </td>
                                  <td class="nowrap">{each.subject}</td>
                                  <td>{each.found}</td>
                                  <td>{each.advice || <span class="muted">nothing</span>}</td>
                                </tr>
                              ))}
                          </tbody>
                        </table>
                      </div>
                    );
                  }}
                </Answer>
              </Panel>
            </div>
          </>
        );
      }}
    </Answer>
  );
}

const DAY = 86_400;

function Ribbons({ cells, owned }: { cells: { cell: number; owner: string }[]; owned: HappenedEvent[] }) {
  const now = useSeconds();
  const from = Math.max(now - DAY, owned.length ? Math.min(...owned.map((event) => event.at)) - (owned.some((event) => event.data["before"]) ? 60 : 0) : now - DAY);
  const owners = [...new Set([...owned.map((event) => String(event.data["owner"] ?? "")), ...cells.map((cell) => cell.owner)])].filter(Boolean).sort();
  const colour = (owner: string) => `role-${owners.indexOf(owner) % 8}`;
  return (
    <div style={{ display: "grid", gap: "6px" }}>
      {cells.map((cell) => {
        const mine = owned.filter((event) => event.cell === cell.cell);
        const spans: { owner: string; from: number; to: number }[] = [];
        const first = mine[0];
        if (!first) spans.push({ owner: cell.owner, from, to: now });
        else {
          const before = String(first.data["before"] ?? "");
          if (before && first.at > from) spans.push({ owner: before, from, to: first.at });
          mine.forEach((event, at) => spans.push({ owner: String(event.data["owner"] ?? ""), from: event.at, to: mine[at + 1]?.at ?? now }));
        }
        return (
          <div key={cell.cell} style={{ display: "grid", gridTemplateColumns: "48px 1fr", alignItems: "center", gap: "8px" }}>
            <span class="muted">cell {cell.cell}</span>
            <Bar
              tall
              label={`cell ${cell.cell}: ${spans.map((span) => span.owner || "no owner").join(", then ")}`}
              total={now - from}
              parts={spans.map((span, at) => ({ name: `${at}`, value: Math.max(span.to - Math.max(span.from, from), (now - from) / 500), class: span.owner ? `ribbon-${owners.indexOf(span.owner) % 8}` : "c-bad" }))}
            />
          </div>
        );
      })}
      <div class="legend">
        {owners.map((owner) => (
          <span key={owner}>
            <i style={{ background: `var(--${colour(owner)})` }} />
            {owner}
          </span>
        ))}
        <span>
          from <Clock at={from} /> until now
        </span>
      </div>
      {owned.length > 0 && (
        <ul>
          {owned
            .slice(-6)
            .reverse()
            .map((event) => (
              <li key={event.id} class="muted">
                <Ago at={event.at} />: {event.text}
                {silence(event)}
              </li>
            ))}
        </ul>
      )}
    </div>
  );
}
