// What has happened, and dead letters: messages that could not be handled.
import { useState } from "preact/hooks";
import type { DeadLetterView } from "../api";
import { bytes } from "../data/format";
import { useEvents } from "../data/overview";
import { useQuery } from "../data/query";
import { ask } from "../data/request";
import { place, setQuery } from "../data/router";
import { may } from "../data/session";
import { Ago, Answer, Empty, Panel, Segments, Skeleton, plural } from "../parts/basics";
import { ActionButton, confirm } from "../parts/dialog";
import { EventRows } from "../parts/events";
import { Notice } from "../parts/icons";

const KINDS = [
  ["", "All"],
  ["agent", "Agents"],
  ["task", "Tasks"],
  ["framework", "Frameworks"],
  ["cell", "Cells"],
  ["quota,policy", "Roles"],
  ["letter", "Dead letters"],
] as const;
type Kind = (typeof KINDS)[number][0];

export function EventsPage() {
  const query = place.value.query;
  const kinds = (KINDS.find(([each]) => each === query.get("kinds"))?.[0] ?? "") as Kind;
  const [paused, setPaused] = useState<readonly unknown[] | null>(null);
  const events = useEvents(kinds, 200);
  return (
    <>
      <div class="head">
        <h1>Events</h1>
      </div>
      <div class="toolbar">
        <Segments label="Kinds" value={kinds} options={KINDS} set={(value) => (setPaused(null), setQuery({ kinds: value }))} />
        <button type="button" class="button" aria-pressed={paused !== null} onClick={() => setPaused(paused ? null : (events.data?.events ?? null))}>
          {paused ? "Go on" : "Pause"}
        </button>
        {paused && events.data && <span class="muted">{plural(Math.max(0, events.data.events.filter((each) => !(paused as { id: string }[]).some((old) => old.id === each.id)).length), "new event")}</span>}
      </div>
      <Panel title="Events, the latest first" flush>
        <Answer query={events} rows={8}>
          {(data) => {
            const list = (paused ?? data.events) as typeof data.events;
            return (
              <>
                {data.lost && <Notice>Older events are not kept any more.</Notice>}
                {list.length ? <EventRows events={[...list].reverse()} /> : <Empty title="No such event is kept">What happens to agents, tasks, frameworks and cells appears here at once.</Empty>}
              </>
            );
          }}
        </Answer>
      </Panel>
      <Letters />
    </>
  );
}

function Letters() {
  const [open, setOpen] = useState("");
  const letters = useQuery(may("letters") ? null : "letters", (signal) => ask("LIST_DEAD_LETTERS", { limit: 100 }, signal), { every: 10 });
  const forbidden = may("letters");
  const settle = (type: "RETRY_DEAD_LETTERS" | "DROP_DEAD_LETTERS", letter: DeadLetterView) => {
    const retry = type === "RETRY_DEAD_LETTERS";
    confirm({
      title: `${retry ? "Send" : "Drop"} dead letter ${letter.letter_id}${retry ? " again" : ""}`,
      verb: retry ? "Send again" : "Drop",
      danger: !retry,
      effect: [retry ? `Sends 1 message of ${letter.type} again to ${letter.source}.` : `Removes 1 message of ${letter.type} for ever. What it would have changed never happens.`],
      command: `bmesos dead-letters ${retry ? "retry" : "drop"} ${letter.letter_id}`,
      run: async () => {
        const answer = await ask(type, { letter_id: letter.letter_id });
        if (answer.failed.length) throw new Error(answer.failed[0]);
        return `Done; ${plural(answer.left, "dead letter")} left.`;
      },
      done: letters.refresh,
    });
  };
  return (
    <Panel title={letters.data ? `Dead letters: ${letters.data.total}` : "Dead letters"} flush>
      {forbidden ? (
        <Empty title="You may not see dead letters" command="bmesos whoami">
          {forbidden}
        </Empty>
      ) : (
        <Answer query={letters} rows={2}>
          {(data) =>
            data.letters.length === 0 ? (
              <Empty title="There are none">Messages that could not be handled wait here until they are sent again or dropped.</Empty>
            ) : (
              <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
                <table>
                  <thead>
                    <tr>
                      <th>When</th>
                      <th>Message</th>
                      <th>Why</th>
                      <th>From</th>
                      <th class="num">Size</th>
                      <th />
                    </tr>
                  </thead>
                  <tbody>
                    {data.letters.map((letter) => (
                      <tr key={letter.letter_id}>
                        <td class="nowrap muted">
                          <Ago at={letter.at} />
                        </td>
                        <td class="nowrap">{letter.type || "not decoded"}</td>
                        <td>{letter.reason}</td>
                        <td class="cut">{letter.source}</td>
                        <td class="num nowrap">{bytes(letter.size)}</td>
                        <td class="num nowrap">
                          <button type="button" class="button quiet" aria-expanded={open === letter.letter_id} onClick={() => setOpen(open === letter.letter_id ? "" : letter.letter_id)}>
                            Body
                          </button>
                          <ActionButton right="letters" onClick={() => settle("RETRY_DEAD_LETTERS", letter)}>Retry…</ActionButton>{" "}
                          <ActionButton right="letters" danger onClick={() => settle("DROP_DEAD_LETTERS", letter)}>Drop…</ActionButton>
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )
          }
        </Answer>
      )}
      {open && <Body id={open} />}
    </Panel>
  );
}

function Body({ id }: { id: string }) {
  const letter = useQuery(`letter ${id}`, (signal) => ask("GET_DEAD_LETTER", { letter_id: id }, signal));
  if (!letter.data) return <Skeleton rows={3} />;
  return (
    <pre class="log" tabIndex={0} style={{ margin: 0, padding: "12px 16px", height: "auto", maxHeight: "360px", whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>
      {letter.data.body}
      {letter.data.cut && "\n…"}
    </pre>
  );
}
