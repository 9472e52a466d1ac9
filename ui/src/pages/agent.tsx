// One agent: what it lends and to whom, its tasks, and what can be done with it.
import { agentOf } from "../data/agents";
import { amount, amounts, count, duration, percent, resources } from "../data/format";
import { useEvents } from "../data/overview";
import { useQuery } from "../data/query";
import { go, url } from "../data/router";
import { ask } from "../data/request";
import { useTopics } from "../data/stream";
import { Ago, Answer, Bar, Clock, Empty, Facts, Legend, Missing, Panel, plural, useSeconds } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { EventRows } from "../parts/events";
import { State, taskState, Notice } from "../parts/icons";
import { Lanes } from "../parts/lanes";
import { activateAction, deactivateAction, drainAction, goneAction, scheduleAction } from "./agent_actions";

const FINAL = new Set(["finished", "failed", "killed", "error", "dropped", "lost", "gone", "gone_by_operator"]);

export function AgentPage({ id }: { id: string }) {
  useTopics("agents");
  const now = useSeconds();
  const query = useQuery(
    `agent ${id}`,
    async (signal) => {
      const found = await ask("GET_STATE", { parts: ["agents", "tasks"], agent_id: id, limit: 500 }, signal);
      return { ...found, agent: found.agents.find((each) => each.agent_id === id) };
    },
    { every: 2, everyLive: 5, on: (frame) => frame.event === "event" && ((frame.data as { ids?: string[] }).ids ?? []).includes(id) },
  );
  const events = useEvents("agent", 500);
  return (
    <Answer query={query} rows={8} heading={id}>
      {({ agent, tasks, missing }) => {
        if (!agent)
          return (
            <>
              <div class="head">
                <h1>{id}</h1>
              </div>
              <Missing cells={missing} />
              <Panel title="Agent">
                <Empty title="No such agent is registered" command="bmesos agents">
                  It may have never registered, or been removed long ago. All that are known:
                </Empty>
              </Panel>
            </>
          );
        const row = agentOf(agent);
        const held = agent.reservations.map((each) => amounts(each.unused));
        const names = Object.keys(row.total).filter((name) => name !== "ports");
        const done = query.refresh;
        const idle = agent.state === "registered" && !agent.maintenance;
        return (
          <>
            <div class="head">
              <h1>{id}</h1>
              <State state={row.state} loud={row.state !== "ready"} />
              <span class="muted">
                cell {agent.cell} · {agent.hostname}
                {agent.heartbeat_age !== null && ` · last message ${duration(agent.heartbeat_age)} ago`}
              </span>
              <div class="actions">
                {idle ? (
                  <>
                    <ActionButton right="drain" danger onClick={() => confirm(drainAction([row], done))}>Drain…</ActionButton>
                    <ActionButton right="drain" onClick={() => confirm(deactivateAction([row], done))}>Deactivate…</ActionButton>
                  </>
                ) : (
                  <ActionButton right="drain" onClick={() => confirm(activateAction([row], done))}>Activate…</ActionButton>
                )}
                <ActionButton right="drain" onClick={() => confirm(scheduleAction([row], done))}>Schedule…</ActionButton>
                <ActionButton right="gone" danger onClick={() => confirm(goneAction(row, done))}>Gone…</ActionButton>
              </div>
            </div>
            <Missing cells={missing} />
            {agent.contested && <Notice bad>Two machines use this id: they replace each other's sessions. Give one of them another id or work folder.</Notice>}
            {agent.usage.lends_less && <Notice>It lends less than it has: {agent.usage.lends_less}</Notice>}
            {agent.not_isolated && <Notice>Its tasks are not held to limits: {agent.not_isolated}</Notice>}
            <div class="grid">
              <Panel
                title="Resources"
                class="two"
                tools={<Legend entries={[["used", "c-use"], ["offered", "c-offer"], ["reserved", "c-held"], ["free", "c-free"]]} />}
              >
                <div style={{ display: "grid", gap: "12px" }}>
                  {names.map((name) => {
                    const total = row.total[name]!;
                    const used = row.used[name] ?? 0;
                    const offered = row.offered[name] ?? 0;
                    const reserved = held.reduce((sum, each) => sum + (each[name] ?? 0), 0);
                    const text = `${amount(name, used)} used, ${amount(name, offered)} offered, ${amount(name, reserved)} reserved and not used, of ${amount(name, total)} ${name}`;
                    return (
                      <div key={name} style={{ display: "grid", gridTemplateColumns: "64px 1fr 132px", gap: "12px", alignItems: "center" }}>
                        <span>{name}</span>
                        <Bar
                          tall
                          label={text}
                          total={total}
                          parts={[
                            { name: "used", value: used, class: "c-use" },
                            { name: "offered", value: offered, class: "c-offer" },
                            { name: "reserved", value: reserved, class: "c-held" },
                          ]}
                        />
                        <span class="muted right nowrap">
                          {amount(name, used)} / {amount(name, total)}
                        </span>
                      </div>
                    );
                  })}
                </div>
              </Panel>
              <Panel title="Machine" class="third">
                <Facts
                  rows={[
                    ["Load", `${agent.usage.load.toFixed(1)} · CPUs ${percent(agent.usage.cpu_percent / 100)} busy`],
                    ["Memory in use", amount("mem", agent.usage.mem_mb)],
                    ["Disk in use", amount("disk", agent.usage.disk_mb)],
                    ["Tasks held to", agent.isolation.join(", ") || "nothing"],
                    ["Registered", <Ago at={agent.registered_at} />],
                    ["Version", `${agent.version || "–"}, process ${agent.pid || "–"}`],
                    ...(agent.unavailability ? ([["Absence", <Clock at={agent.unavailability.start} />]] as [string, preact.ComponentChildren][]) : []),
                  ]}
                />
                {Object.keys(agent.attributes).length > 0 && (
                  <div class="chips" style={{ marginTop: "12px" }}>
                    {Object.entries(agent.attributes).map(([name, value]) => (
                      <a key={name} class="chip" href={`/ui/agents?filter=${encodeURIComponent(`${name}:${value}`)}`}>
                        <b>{name}</b>
                        {value}
                      </a>
                    ))}
                  </div>
                )}
              </Panel>
              <Panel title={`Tasks: ${plural(agent.tasks, "task")} now`} class="full" flush>
                {tasks.length > 0 && (
                  <div class="body">
                    <Lanes
                      label="Tasks over time"
                      named={false}
                      from={Math.max(now - 3600, Math.min(...tasks.map((task) => task.status?.started_at ?? task.created_at)) - 1)}
                      until={now}
                      spans={tasks.map((task) => {
                        const state = taskState(task.state);
                        return { id: task.task_id, lane: "", state, from: task.status?.started_at ?? task.created_at, to: FINAL.has(state) ? (task.status?.timestamp ?? now) : null };
                      })}
                    />
                  </div>
                )}
                {tasks.length === 0 ? (
                  <Empty title="No task is or was here lately">Tasks start here when a framework accepts an offer of this agent.</Empty>
                ) : (
                  <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                    <table data-rows tabIndex={-1}>
                      <thead>
                        <tr>
                          <th>Task</th>
                          <th>State</th>
                          <th>Framework</th>
                          <th>Role</th>
                          <th>Resources</th>
                          <th class="num">Since</th>
                        </tr>
                      </thead>
                      <tbody>
                        {tasks.slice(0, 200).map((task) => (
                          <tr key={task.task_id} onDblClick={() => go(url("tasks", task.task_id))}>
                            <td>
                              <a class="id" href={url("tasks", task.task_id)}>{task.task_id}</a>
                            </td>
                            <td>
                              <State state={taskState(task.state)} />
                            </td>
                            <td>
                              <a href={url("frameworks", task.framework_id)}>{task.framework_id}</a>
                            </td>
                            <td>{task.role}</td>
                            <td class="nowrap">{resources(task.resources)}</td>
                            <td class="num nowrap">
                              <Ago at={task.status?.timestamp ?? task.created_at} />
                            </td>
                          </tr>
                        ))}
                      </tbody>
                    </table>
                  </div>
                )}
                {tasks.length > 200 && <p class="empty">The first 200 of {count(tasks.length)} are shown.</p>}
              </Panel>
              {(agent.reservations.length > 0 || agent.volumes.length > 0) && (
                <Panel title="Reservations and volumes" class="full">
                  <ul style={{ display: "grid", gap: "6px" }}>
                    {agent.reservations.map((each) => (
                      <li key={JSON.stringify(each.reservation)}>
                        {Object.values(each.reservation)
                          .filter((value) => typeof value === "string" && value)
                          .join(" · ")}
                        <span class="muted"> · not used: {resources(each.unused) || "nothing"}</span>
                      </li>
                    ))}
                    {agent.volumes.map((each) => (
                      <li key={JSON.stringify(each.volume)}>
                        {Object.values(each.volume)
                          .filter((value) => typeof value === "string" && value)
                          .join(" · ")}
                        <span class="muted"> · used by {each.tasks.join(", ") || "no task"}</span>
                      </li>
                    ))}
                  </ul>
                </Panel>
              )}
              <Panel title="Events of this agent" class="full" flush>
                <Answer query={events}>
                  {({ events: all }) => {
                    const mine = all.filter((event) => event.ids.includes(id)).slice(-10).reverse();
                    return mine.length ? <EventRows events={mine} /> : <Empty title="None among the latest events">Registrations, losses and drains appear here.</Empty>;
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
