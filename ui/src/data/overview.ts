// The whole cluster in one answer, and its history and events.
import type { Event, Overview } from "../api";
import { ApiError, ask } from "./request";
import { useQuery } from "./query";
import { useTopics } from "./stream";

/** Whether the server answers GET_OVERVIEW; null: not known yet. */
let answers: boolean | null = null;

export function useOverview() {
  useTopics("overview");
  return useQuery<Overview | null>(
    "overview",
    async (signal) => {
      if (answers === false) return null;
      try {
        const found = await ask("GET_OVERVIEW", {}, signal);
        answers = true;
        return found;
      } catch (error) {
        if (!(error instanceof ApiError && error.unknown)) throw error;
        answers = false;
        return null;
      }
    },
    { every: 2, everyLive: 30, take: (frame) => (frame.event === "delta" && (frame.data as { topic: string }).topic === "overview" ? (frame.data as { data: Overview }).data : undefined) },
  );
}

/** Tasks that wait, of a server without GET_OVERVIEW: those of the jobs that have not ended. */
export async function waitingTasks(signal: AbortSignal): Promise<{ tasks: number; jobs: number }> {
  const { jobs, total } = await ask("GET_JOBS", { active: true, limit: 1000 }, signal);
  return { tasks: jobs.reduce((sum, job) => sum + (job.counts["pending"] ?? 0), 0), jobs: total };
}

export type HappenedEvent = Event;

/** Whether an event is of one of some kinds: `task` stands for all kinds that begin with `task.`. */
function isOf(event: Event, kinds: readonly string[]): boolean {
  return !kinds.length || kinds.some((kind) => event.kind === kind || event.kind.startsWith(`${kind}.`));
}

/** The latest events of some kinds, with commas, the oldest first. New ones arrive by the stream. */
export function useEvents(kinds: string, limit: number) {
  useTopics("events");
  const wanted = kinds ? kinds.split(",") : [];
  return useQuery(
    `events ${kinds} ${limit}`,
    (signal) => ask("GET_EVENTS", { kinds: wanted, limit }, signal),
    {
      every: 3,
      everyLive: 60,
      take: (frame, data) => {
        if (frame.event !== "event") return undefined;
        const event = frame.data as Event;
        // What a reader has missed and what it has fetched meanwhile may overlap.
        if (!isOf(event, wanted) || data.events.some((each) => each.id === event.id)) return data;
        return { ...data, events: [...data.events, event].slice(-limit), last: event.id };
      },
    },
  );
}

export const SPANS = [
  ["1h", "1 h"],
  ["1d", "1 day"],
  ["30d", "30 days"],
] as const;
export type Span = (typeof SPANS)[number][0];

export function useHistory(span: Span, from = 0, to = 0) {
  const series = ({ "1h": "10s", "1d": "1m", "30d": "10m" } as const)[span];
  const range = from && to ? { since: from, until: to } : {};
  return useQuery(
    `history ${series} ${from} ${to}`,
    (signal) => ask("GET_HISTORY", { series, points: 600, ...range }, signal),
    { every: 10 },
  );
}
