// A list of what has happened, newest first, with links.
import { url } from "../data/router";
import type { HappenedEvent } from "../data/overview";
import { duration } from "../data/format";
import { Clock, plural } from "./basics";
import { State } from "./icons";

const SECTIONS: Record<string, string> = { agent: "agents", framework: "frameworks", task: "tasks", role: "roles" };

function stateOf(kind: string): string {
  const [about, what] = kind.split(".") as [string, string];
  if (about === "cell") return "ok";
  if (about === "letter") return "warning";
  if (what === "changed") return "ok";
  if (what === "removed") return "lost";
  return what;
}

/** For how long a cell had no owner that decided when another one took over, in words; empty for other events. */
export function silence(event: HappenedEvent): string {
  const seconds = event.kind === "cell.owned" ? event.data["silence"] : undefined;
  return typeof seconds === "number" && seconds > 0 ? `, ${duration(seconds)} after the last sign of ${event.data["before"] || "an owner"}` : "";
}

export function EventRows({ events }: { events: readonly HappenedEvent[] }) {
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
      <table>
        <thead>
          <tr>
            <th>Time</th>
            <th>Kind</th>
            <th>What</th>
            <th>About</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event) => {
            const section = SECTIONS[event.kind.split(".")[0]!];
            return (
              <tr key={event.id}>
                <td class="nowrap muted">
                  <Clock at={event.at} />
                </td>
                <td class="nowrap">
                  <State state={stateOf(event.kind)} word={event.kind} />
                </td>
                <td class="cut" title={event.text}>
                  {event.text}
                  {silence(event)}
                </td>
                <td class="cut">
                  {section
                    ? event.ids.slice(0, 2).map((id, index) => (
                        <>
                          {index > 0 && ", "}
                          <a href={url(section, id)}>{id}</a>
                        </>
                      ))
                    : event.ids.slice(0, 2).join(", ")}
                  {event.count > Math.min(2, event.ids.length) && event.ids.length > 0 && <span class="muted"> and {plural(event.count - Math.min(2, event.ids.length), "more", "more")}</span>}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
