// Which cells have no owner that decides: asked of any master, and said as well when none of them answers.
import type { ClusterView } from "../api";
import { useQuery, type Query } from "../data/query";
import { ask } from "../data/request";
import { useTopics } from "../data/stream";
import { Notice } from "./icons";

/** Age of a lease from which on its cell has no owner that decides, in seconds: owners renew it several times a second. */
const OLD_LEASE = 2;
/** How long masters have for saying who owns what, in seconds. */
const TIMEOUT = 2;

export function useCluster() {
  useTopics("events");
  return useQuery("cluster", (signal) => ask("GET_CLUSTER", {}, signal, TIMEOUT), {
    every: 1,
    on: (frame) => frame.event === "event" && (frame.data as { kind: string }).kind.startsWith("cell."),
  });
}

/** Whether no master has answered to the latest request, although the server has. */
function noMaster({ error }: Query<ClusterView>): boolean {
  return error !== undefined && error.code !== "offline" && error.status !== 401 && error.status !== 403;
}

/** The cells without an owner that decides. */
export function unowned(query: Query<ClusterView>): number[] {
  const cells = query.data?.cells ?? [];
  return cells.filter((cell) => noMaster(query) || !cell.owner || cell.age >= OLD_LEASE).map((cell) => cell.cell);
}

export function NoOwner({ query }: { query: Query<ClusterView> }) {
  const idle = unowned(query);
  if (!idle.length) return null;
  return (
    <Notice bad>
      {noMaster(query) && "No master answers. "}
      {idle.length === 1 ? `Cell ${idle[0]} has no owner` : `Cells ${idle.join(", ")} have no owner`}: nothing is decided there until a master takes over. If none does: bmesos doctor
    </Notice>
  );
}
