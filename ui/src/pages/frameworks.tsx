// Frameworks with what they want and hold, and open offers: who holds which, and for how long.
import type { FrameworkTotal, OfferView } from "../api";
import { count, duration, percent, resources, amounts, amount } from "../data/format";
import { useQuery } from "../data/query";
import { ask } from "../data/request";
import { go, url } from "../data/router";
import { useTopics } from "../data/stream";
import { Ago, Answer, Bar, Empty, Facts, Missing, Panel, plural } from "../parts/basics";
import { ActionButton, confirm, type Action } from "../parts/dialog";
import { State, taskState } from "../parts/icons";
import { VirtualTable, type Column } from "../parts/table";

type Framework = FrameworkTotal;
type Offer = OfferView;

function held(text: string): string {
  const found = amounts(text);
  return ["cpus", "mem", "gpus"]
    .filter((name) => found[name])
    .map((name) => (name === "mem" ? amount(name, found[name]!) : `${amount(name, found[name]!)} ${name}`))
    .join(" · ");
}

export function Offers({ offers, framework }: { offers: Offer[]; framework: boolean }) {
  const ordered = [...offers].sort((a, b) => b.age - a.age);
  const columns: Column<Offer>[] = [
    { key: "agent", name: "Agent", width: "minmax(140px,1.2fr)", cell: (offer) => <a class="id" tabIndex={-1} href={url("agents", offer.agent_id)}>{offer.agent_id}</a> },
    ...(framework ? [{ key: "framework", name: "Held by", width: "minmax(110px,1fr)", cell: (offer: Offer) => <a tabIndex={-1} href={url("frameworks", offer.framework_id)}>{offer.framework_id}</a> }] : []),
    { key: "role", name: "Role", width: "90px", cell: (offer) => offer.role },
    { key: "resources", name: "Resources", width: "minmax(150px,1.2fr)", cell: (offer) => held(offer.resources) },
    {
      key: "age",
      name: "Held for",
      width: "minmax(190px,1fr)",
      cell: (offer) => {
        if (offer.expires_in === null) return duration(offer.age);
        const limit = offer.age + offer.expires_in;
        return (
          <span class="meter">
            <Bar label={`held for ${duration(offer.age)} of ${duration(limit)}`} total={limit} parts={[{ name: "held", value: offer.age, class: offer.expires_in < 2 ? "c-warn" : "c-offer" }]} />
            <span>
              {duration(offer.age)} of {duration(limit)}
            </span>
          </span>
        );
      },
    },
    { key: "cell", name: "Cell", width: "60px", number: true, cell: (offer) => offer.cell },
  ];
  return <VirtualTable label="Open offers" rows={ordered} id={(offer) => offer.offer_id} columns={columns} minWidth={700} empty={<Empty title="No offer is open">Offers are made when something is free that a framework wants.</Empty>} />;
}

export function FrameworksPage() {
  useTopics("overview");
  const query = useQuery("frameworks", (signal) => ask("GET_STATE", { parts: ["frameworks", "offers"], limit: 2000 }, signal), { every: 2, everyLive: 2 });
  const columns: Column<Framework>[] = [
    { key: "id", name: "Framework", width: "minmax(150px,1.3fr)", cell: (each) => <a class="id" tabIndex={-1} href={url("frameworks", each.framework_id)}>{each.name || each.framework_id}{each.name && each.name !== each.framework_id && <span class="muted"> {each.framework_id}</span>}</a> },
    { key: "state", name: "State", width: "128px", cell: (each) => <State state={each.state} /> },
    { key: "share", name: "Share", width: "minmax(130px,1fr)", cell: (each) => (
      <span class="meter">
        <Bar label={`share ${percent(each.dominant_share)}`} total={1} parts={[{ name: "share", value: each.dominant_share, class: "c-use" }]} />
        <span>{percent(each.dominant_share)}</span>
      </span>
    ) },
    { key: "wants", name: "Wants", width: "minmax(150px,1.2fr)", cell: (each) => wants(each) },
    { key: "tasks", name: "Tasks", width: "76px", number: true, cell: (each) => count(each.tasks) },
    { key: "offers", name: "Offers", width: "70px", number: true, cell: (each) => count(each.offers) },
    { key: "declined", name: "Declined, 5 min", width: "120px", number: true, cell: (each) => <span title={Object.entries(each.declined).map(([why, number]) => `${number}: ${why}`).join("\n")}>{count(sum(each.declined))}</span> },
    { key: "roles", name: "Roles", width: "minmax(90px,1fr)", cell: (each) => each.roles.join(", ") },
    { key: "at", name: "Registered", width: "110px", number: true, cell: (each) => <Ago at={each.registered_at} /> },
  ];
  return (
    <>
      <div class="head">
        <h1>Frameworks</h1>
        {query.data && <span class="muted">{plural(query.data.counts["frameworks"] ?? query.data.frameworks.length, "framework")}</span>}
      </div>
      <Answer query={query} rows={6}>
        {(data) => (
          <>
            <Missing cells={data.missing} />
            <Panel title="Frameworks" flush>
              <VirtualTable label="Frameworks" rows={data.frameworks as Framework[]} id={(each) => each.framework_id} columns={columns} minWidth={1080} open={(each) => go(url("frameworks", each.framework_id))} empty={<Empty title="No framework is subscribed" command="bmesos framework batch">The batch framework runs jobs; start one of its workers:</Empty>} />
            </Panel>
            <Panel title={`Open offers: ${count(data.counts["offers"] ?? data.offers.length)}`} flush>
              <Offers offers={data.offers as Offer[]} framework />
            </Panel>
          </>
        )}
      </Answer>
    </>
  );
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, each) => total + each, 0);
}

/** How many offers have ended without a task, and why. */
function Ends({ framework }: { framework: Framework }) {
  const kinds = [
    ["declined by it", framework.declined],
    ["withdrawn from it", framework.withdrawn],
  ] as const;
  if (kinds.every(([, counts]) => !sum(counts))) return <p class="muted">None: it has used each offer, or had none.</p>;
  return (
    <table>
      <thead>
        <tr>
          <th class="num" style={{ width: "72px" }}>
            Offers
          </th>
          <th>How</th>
          <th>Why</th>
        </tr>
      </thead>
      <tbody>
        {kinds.flatMap(([how, counts]) =>
          Object.entries(counts).map(([why, number]) => (
            <tr key={`${how} ${why}`}>
              <td class="num">{count(number)}</td>
              <td>{how}</td>
              <td>{why}</td>
            </tr>
          )),
        )}
      </tbody>
    </table>
  );
}

function tearDownAction(framework: Framework, done: () => void): Action {
  const id = framework.framework_id;
  return {
    title: `Tear down framework ${framework.name || id}`,
    danger: true,
    verb: "Tear down",
    effect: [
      framework.tasks ? `Kills ${plural(framework.tasks, "task")} of it, on all agents.` : "It has no tasks now.",
      `Ends ${plural(framework.offers, "open offer")}. Its processes end, and its id is refused until an operator readmits it.`,
      ...(id === "batch" ? ["This framework runs the jobs of the cluster: no job runs until it is readmitted."] : []),
    ],
    type: id,
    command: `bmesos frameworks teardown ${id}`,
    run: async () => {
      const answer = await ask("TEAR_DOWN_FRAMEWORK", { framework_id: id });
      const late = answer.missing.length ? ` Cells ${answer.missing.join(", ")} follow when they have an owner.` : "";
      return `Framework ${id} is torn down; ${plural(answer.tasks, "task")} ${answer.tasks === 1 ? "is" : "are"} being killed.${late}`;
    },
    done,
  };
}

function readmitAction(id: string, done: () => void): Action {
  return {
    title: `Readmit framework ${id}`,
    verb: "Readmit",
    effect: ["Its id may be used again. Start its processes again afterwards."],
    command: `bmesos frameworks readmit ${id}`,
    run: async () => {
      await ask("READMIT_FRAMEWORK", { framework_id: id });
      return `Framework ${id} may subscribe again.`;
    },
    done,
  };
}

function wants(each: Framework) {
  if (!each.wanted) return <span class="muted">nothing now</span>;
  if (!each.shapes) return "any offer";
  const tasks = each.shapes.reduce((sum, shape) => sum + shape.count, 0);
  const first = each.shapes[0];
  return first ? `${count(tasks)} × (${held(first.resources)}${each.shapes.length > 1 ? ", …" : ""})` : <span class="muted">nothing now</span>;
}

export function FrameworkPage({ id }: { id: string }) {
  const query = useQuery(`framework ${id}`, (signal) => ask("GET_STATE", { parts: ["frameworks", "tasks", "offers"], framework_id: id, limit: 500 }, signal), { every: 2, everyLive: 2 });
  return (
    <Answer query={query} rows={6} heading={id}>
      {(data) => {
        const framework = (data.frameworks as Framework[]).find((each) => each.framework_id === id);
        const offers = (data.offers as Offer[]).filter((each) => each.framework_id === id);
        const tasks = data.tasks.filter((each) => each.framework_id === id);
        if (!framework)
          return (
            <>
              <div class="head">
                <h1>{id}</h1>
              </div>
              <Missing cells={data.missing} />
              <Panel title="Framework">
                <Empty title="No such framework is known" command="bmesos frameworks" />
              </Panel>
            </>
          );
        return (
          <>
            <div class="head">
              <h1>{framework.name || id}</h1>
              <State state={framework.state} loud={framework.state !== "subscribed"} />
              <span class="muted">{id}</span>
              <div class="actions">
                {framework.state === "torn-down" ? (
                  <ActionButton right="gone" onClick={() => confirm(readmitAction(id, query.refresh))}>Readmit…</ActionButton>
                ) : (
                  <ActionButton right="gone" danger onClick={() => confirm(tearDownAction(framework, query.refresh))}>Tear down…</ActionButton>
                )}
              </div>
            </div>
            <Missing cells={data.missing} />
            <div class="grid">
              <Panel title="What it wants and holds" class="third">
                <Facts
                  rows={[
                    ["Share", percent(framework.dominant_share)],
                    ["Holds", held(framework.allocated) || "nothing"],
                    ["Offered now", held(framework.offered) || "nothing"],
                    ["Roles", framework.roles.map((role) => <a key={role} href={`/ui/roles?role=${encodeURIComponent(role)}`}>{role} </a>)],
                    ["Tasks", count(framework.tasks)],
                    ["Wants", wants(framework)],
                    ["Registered", <Ago at={framework.registered_at} />],
                  ]}
                />
              </Panel>
              <Panel title={`Open offers: ${count(offers.length)}`} class="two" flush>
                <Offers offers={offers} framework={false} />
              </Panel>
              <Panel title="Offers that ended unused in the last 5 minutes" class="full">
                <Ends framework={framework} />
              </Panel>
              {(framework.shapes?.length ?? 0) > 0 && (
                <Panel title="Tasks that it wants to start" class="full" flush>
                  <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                    <table>
                      <thead>
                        <tr>
                          <th class="num">Tasks</th>
                          <th>Each</th>
                          <th>Role</th>
                          <th>Only on</th>
                          <th>Gang</th>
                        </tr>
                      </thead>
                      <tbody>
                        {framework.shapes!.map((shape, at) => (
                          <tr key={at}>
                            <td class="num">{count(shape.count)}</td>
                            <td>{resources(shape.resources)}</td>
                            <td>{shape.role}</td>
                            <td>{shape.constraints.map(String).join(", ") || <span class="muted">any agent</span>}</td>
                            <td>{shape.gang || <span class="muted">–</span>}</td>
                          </tr>
                        ))}
                      </tbody>
                    </table>
                    {framework.shapes_truncated && <p class="empty">It wants tasks of more shapes than are listed.</p>}
                  </div>
                </Panel>
              )}
              <Panel title="Tasks" class="full" flush>
                <VirtualTable
                  label="Tasks of the framework"
                  rows={tasks}
                  id={(task) => task.task_id}
                  open={(task) => go(url("tasks", task.task_id))}
                  minWidth={760}
                  columns={[
                    { key: "id", name: "Task", width: "minmax(180px,1.4fr)", cell: (task) => <a class="id" tabIndex={-1} href={url("tasks", task.task_id)}>{task.task_id}</a> },
                    { key: "state", name: "State", width: "116px", cell: (task) => <State state={taskState(task.state)} /> },
                    { key: "agent", name: "Agent", width: "minmax(130px,1fr)", cell: (task) => <a tabIndex={-1} href={url("agents", task.agent_id)}>{task.agent_id}</a> },
                    { key: "role", name: "Role", width: "100px", cell: (task) => task.role },
                    { key: "resources", name: "Resources", width: "minmax(140px,1fr)", cell: (task) => resources(task.resources) },
                    { key: "at", name: "Created", width: "110px", number: true, cell: (task) => <Ago at={task.created_at} /> },
                  ]}
                  empty={<Empty title="It has no tasks">Tasks appear here when it accepts an offer.</Empty>}
                />
              </Panel>
            </div>
          </>
        );
      }}
    </Answer>
  );
}
