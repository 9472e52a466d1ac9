// How the cluster is divided: shares of roles now and over time, their limits, and the policy.
import type { ConfigView, RoleTotal } from "../api";
import { amounts, amount, percent, resources } from "../data/format";
import { useQuery } from "../data/query";
import { ask } from "../data/request";
import { place } from "../data/router";
import { Answer, Bar, Empty, Missing, Panel, plural } from "../parts/basics";
import { ActionButton, confirm, type Action } from "../parts/dialog";
import { SharesPanel } from "../parts/shares";

export function RolesPage() {
  const state = useQuery("roles", (signal) => ask("GET_STATE", { parts: ["roles"], limit: 0 }, signal), { every: 2, everyLive: 5 });
  const config = useQuery("config", (signal) => ask("GET_CONFIG", {}, signal), { every: 10 });
  const refresh = () => {
    state.refresh();
    config.refresh();
  };
  return (
    <>
      <div class="head">
        <h1>Roles</h1>
        {config.data && (
          <span class="muted">
            policy {config.data.policy}
            {config.data.exclude.length > 0 && `, which does not count ${config.data.exclude.join(", ")}`}
          </span>
        )}
        <div class="actions">
          {config.data && <ActionButton right="policy" onClick={() => confirm(policyAction(config.data!, refresh))}>Change the policy…</ActionButton>}
          {config.data && <ActionButton right="roles" onClick={() => confirm(roleAction(undefined, config.data!, refresh))}>Set a role…</ActionButton>}
        </div>
      </div>
      <SharesPanel height={220} />
      <Panel title="Shares now" flush>
        <Answer query={state} rows={5}>
          {(found) => <RoleTable roles={found.roles} missing={found.missing} config={config.data} refresh={refresh} />}
        </Answer>
      </Panel>
    </>
  );
}

function RoleTable({ roles, missing, config, refresh }: { roles: RoleTotal[]; missing: { cell: number; reason: string }[]; config: ConfigView | undefined; refresh: () => void }) {
  const wanted = place.value.query.get("role");
  const known = new Set(roles.map((each) => each.role));
  const idle: RoleTotal[] = Object.entries(config?.roles ?? {})
    .filter(([name]) => !known.has(name))
    .map(([role, set]) => ({ role, weight: set.weight ?? 1, frameworks: 0, allocated: "", offered: "", held: "", dominant_share: 0, guarantee: set.guarantee, limit: set.limit, preempts: set.preempts }));
  const ordered = [...roles, ...idle].sort((a, b) => (a.role < b.role ? -1 : 1));
  if (!ordered.length)
    return (
      <Empty title="No role is in use" command="bmesos submit --role eng -- echo hello">
        A role appears when a framework subscribes with it, or when it is given a limit:
      </Empty>
    );
  return (
    <>
      <Missing cells={missing} />
      <div class="scroll" tabIndex={0} role="group" aria-label="table, scrolls">
        <table style={{ minWidth: "880px" }}>
          <thead>
            <tr>
              <th>Role</th>
              <th style={{ width: "26%" }}>Share</th>
              <th>Holds</th>
              <th class="num">Weight</th>
              <th>Guarantee</th>
              <th>Limit</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {ordered.map((each) => {
              const depth = each.role.split("/").length - 1;
              const held = amounts(each.held);
              const limit = amounts(each.limit);
              const guarantee = amounts(each.guarantee);
              const at = (bounds: Record<string, number>) => {
                const share = Math.max(0, ...Object.keys(bounds).map((name) => (bounds[name] && held[name] ? each.dominant_share * (bounds[name]! / held[name]!) : 0)));
                return share && share <= 1 ? share : 0;
              };
              const marks = [
                ...(at(guarantee) ? [{ at: at(guarantee), title: `guarantee ${resources(each.guarantee)}` }] : []),
                ...(at(limit) ? [{ at: at(limit), title: `limit ${resources(each.limit)}` }] : []),
              ];
              return (
                <tr key={each.role} class={wanted === each.role ? "chosen" : ""}>
                  <td>
                    <span class="id" style={{ paddingLeft: `${depth * 16}px` }}>
                      {depth > 0 && <span class="muted">└ </span>}
                      {each.role === "*" ? "* (no role)" : each.role}
                    </span>
                    <span class="muted"> {each.frameworks > 0 && plural(each.frameworks, "framework")}</span>
                  </td>
                  <td>
                    <span class="meter">
                      <Bar tall label={`share ${percent(each.dominant_share)}`} total={1} parts={[{ name: "share", value: each.dominant_share, class: "c-use" }]} marks={marks} />
                      <span>{percent(each.dominant_share)}</span>
                    </span>
                  </td>
                  <td class="nowrap">{scalars(held) || <span class="muted">nothing</span>}</td>
                  <td class="num">{each.weight}</td>
                  <td class="nowrap">{scalars(guarantee) || <span class="muted">–</span>}</td>
                  <td class="nowrap">{scalars(limit) || <span class="muted">–</span>}</td>
                  <td class="num">{config && <ActionButton right="roles" onClick={() => confirm(roleAction(each, config, refresh))}>Edit…</ActionButton>}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}

function scalars(held: Record<string, number>): string {
  return ["cpus", "mem", "gpus"]
    .filter((name) => name in held)
    .map((name) => (name === "mem" ? amount(name, held[name]!) : `${amount(name, held[name]!)} ${name}`))
    .join(" · ");
}

function roleAction(role: RoleTotal | undefined, config: ConfigView, done: () => void): Action {
  const set = role ? config.roles[role.role] : undefined;
  return {
    title: role ? `Role ${role.role}` : "Set a role",
    verb: "Change",
    effect: ["It takes effect with the next allocation. What runs is not killed; a limit below what the role holds is refused."],
    fields: [
      ...(role ? [] : [{ name: "role", label: "Role", hint: "eng/db" }]),
      { name: "weight", label: "Weight in the fair share (empty: the default)", kind: "number" as const, value: set?.weight ? String(set.weight) : "" },
      { name: "guarantee", label: "Guarantee (empty: none)", value: set?.guarantee ?? "", hint: "cpus:4;mem:4096" },
      { name: "limit", label: "Limit (empty: none)", value: set?.limit ?? "", hint: "cpus:8;gpus:0" },
    ],
    run: async (values) => {
      const name = role?.role ?? values["role"]?.trim();
      if (!name) throw new Error("Give the name of the role.");
      const clear: ("weight" | "guarantee" | "limit")[] = [];
      const change: { weight?: number; guarantee?: string; limit?: string } = {};
      if (values["weight"]) change.weight = Number(values["weight"]);
      else clear.push("weight");
      if (values["guarantee"]) change.guarantee = values["guarantee"];
      else clear.push("guarantee");
      if (values["limit"]) change.limit = values["limit"];
      else clear.push("limit");
      const answer = await ask("SET_ROLES", { roles: { [name]: { ...change, clear } }, version: config.version });
      return answer.unconfirmed.length ? `Stored; cells ${answer.unconfirmed.join(", ")} apply it a little later.` : `Role ${name} is changed in all cells.`;
    },
    done,
  };
}

function policyAction(config: ConfigView, done: () => void): Action {
  return {
    title: "Change the policy",
    verb: "Change",
    danger: true,
    effect: [
      `Now it is ${config.policy}. Available: ${config.policies.join(", ")}.`,
      "Another policy divides what becomes free from now on in another order. What runs is not killed.",
    ],
    fields: [{ name: "policy", label: "Policy", value: config.policy }],
    command: "bmesos policy set NAME",
    run: async ({ policy }) => {
      const answer = await ask("SET_POLICY", { policy: policy!.trim(), version: config.version });
      return `The policy is ${answer.policy}.`;
    },
    done,
  };
}
