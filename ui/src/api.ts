// Generated from /openapi.json by ui/generate.py: do not edit.

export interface ActivateAgents {
  agent_ids: string[];
  type: "ACTIVATE_AGENTS";
}

export interface AgentColumns {
  ids: string[];
  hosts: string[];
  states: number[];
  shares: number[];
  tasks: number[];
  kinds: Record<string, number>[];
  kind: number[];
  attribute_sets: Record<string, string>[];
  attributes: number[];
  used: Record<string, number[]>;
  offered: Record<string, number[]>;
  heartbeat_ages: (number | null)[];
  cells: number[];
  state_names: string[];
  removed: string[];
  reset: number[];
  token: string;
  more: boolean;
  after: string;
  truncated: boolean;
  total: number;
  match: number;
  missing: MissingCell[];
}

export interface AgentForgotten {
  existed: boolean;
}

export interface AgentGone {
  tasks: number;
  revoked: boolean;
}

export interface AgentMaintenance {
  agent_id: string;
  cell: number;
  hostname: string;
  state: AgentStatus;
  maintenance: string;
  scheduled: boolean;
  tasks: number;
  unavailability: Unavailability | null;
  accepted: string[];
  declined: string[];
  unanswered: string[];
}

export interface AgentObstacle {
  agent_id: string;
  hostname: string;
  cell: number;
  what: "away" | "constraint" | "drain" | "filter" | "gang" | "gpus" | "isolation" | "minimum" | "offered" | "quota" | "reserved" | "resources" | "sits" | "spread" | "too-small" | "turn";
  message: string;
  missing: string;
  seconds: number | null;
  kept: string;
}

export type AgentStatus = "registered" | "unreachable" | "gone";

export interface AgentView {
  agent_id: string;
  cell: number;
  hostname: string;
  state: AgentStatus;
  total: string;
  offered: string;
  used: string;
  attributes: Record<string, string>;
  tasks: number;
  usage: Usage;
  version: string;
  isolation: string[];
  not_isolated: string;
  isolation_missing: Record<string, string>;
  pid: number;
  registered_at: number;
  heartbeat_age: number | null;
  reservations: ReservationView[];
  volumes: VolumeView[];
  maintenance: string;
  slack: string;
  slack_held: string;
  contested: boolean;
  unavailability: Unavailability | null;
}

export interface Ahead {
  role: string;
  framework_id: string;
  share: number;
}

export interface BusReport {
  error: string;
  server: string;
  connected: boolean;
  blocked: boolean;
  round_trip: number;
  certificates: CertificateReport[];
  in_process: boolean;
}

export interface CancelMaintenance {
  agent_ids: string[];
  type: "CANCEL_MAINTENANCE";
}

export interface CellLoad {
  cell: number;
  behind: number;
  decisions: number;
  rounds: number;
  round_p50: number | null;
  round_p99: number | null;
}

export interface CellOwnership {
  cell: number;
  owner: string;
  pid: number | null;
  hostname: string;
  term: number;
  age: number;
}

export interface CellReport {
  cell: number;
  error: string;
  unrouted: string[];
  inbox: number | null;
  consumers: number | null;
  outbox: number | null;
  routes: RouteReport | null;
}

export interface CertificateReport {
  name: string;
  ends: number;
  left: number;
}

export interface Change {
  message: string;
  sure: boolean;
  rank: number;
}

export interface ClusterView {
  cluster: string;
  version: string;
  masters: MasterView[];
  cells: CellOwnership[];
}

export interface CommandInfo {
  arguments: string[];
  shell?: boolean;
  environment?: Record<string, string>;
  directory?: string;
  stdin?: string;
  stdout?: string;
  stderr?: string;
  user?: string;
}

export interface ConfigView {
  version: number;
  policy: string;
  exclude: string[];
  policies: string[];
  roles: Record<string, RoleSet>;
  unconfirmed: number[];
}

export interface CreateVolume {
  agent_id: string;
  request_id?: string;
  role: string;
  volume_id: string;
  size: number;
  shared?: boolean;
  labels?: Record<string, string>;
  type: "CREATE_VOLUME";
}

export interface DaemonReport {
  kind: string;
  hostname: string;
  pid: number;
  version: string;
  policy: string;
  policy_problem: string;
  processes: number;
}

export interface DeactivateAgents {
  agent_ids: string[];
  type: "DEACTIVATE_AGENTS";
}

export interface DeadLetterDetail {
  letter: DeadLetterView;
  body: string;
  cut: boolean;
  headers: Record<string, string>;
}

export interface DeadLetterList {
  letters: DeadLetterView[];
  total: number;
  truncated: boolean;
  after: string;
}

export interface DeadLetterView {
  letter_id: string;
  message_id: string;
  type: string;
  reason: string;
  source: string;
  tries: number;
  at: number;
  size: number;
}

export interface DeadLettersSettled {
  settled: number;
  failed: string[];
  left: number;
}

export interface DecisionView {
  cell: number;
  cause_id: string;
  at: number;
  cause: string;
  sender: string;
  effects: string[][];
  more: number;
}

export interface Dependency {
  job_id: string;
  any_end?: boolean;
}

export interface DestroyVolume {
  agent_id: string;
  request_id?: string;
  volume_id: string;
  type: "DESTROY_VOLUME";
}

export interface DoctorReport {
  worst: "ok" | "warning" | "error";
  findings: Finding[];
}

export interface DrainAgents {
  agent_ids: string[];
  grace?: number | null;
  gone?: boolean;
  type: "DRAIN_AGENTS";
}

export interface DropDeadLetters {
  letter_id?: string;
  type: "DROP_DEAD_LETTERS";
}

export interface Event {
  id: string;
  at: number;
  kind: string;
  cell: number | null;
  term: number | null;
  ids: string[];
  count: number;
  reason: string;
  text: string;
  data: Record<string, string | number>;
}

export interface EventList {
  events: Event[];
  lost: boolean;
  last: string;
  more: boolean;
}

export interface ExecState {
  exec_id: string;
  task_id: string;
  agent_id: string;
  out: string;
  out_offset: number;
  err: string;
  err_offset: number;
  accepted: number;
  ended: boolean;
  exit_code: number | null;
  signal: number | null;
  message: string;
}

export interface Explain {
  id: string;
  limit?: number;
  type: "EXPLAIN";
}

export interface Explanation {
  subject: string;
  reason: string;
  change: string;
  would_run: boolean;
  shapes: Shape[];
  placements: Placement[][];
  missing: number[];
}

export interface Finding {
  level: "ok" | "warning" | "error";
  subject: string;
  found: string;
  advice: string;
}

export interface FolderView {
  task_id: string;
  agent_id: string;
  path: string;
  files: SandboxEntry[];
  truncated: boolean;
  after: string;
}

export interface ForgetAgent {
  agent_id: string;
  type: "FORGET_AGENT";
}

export interface FrameworkReadmitted {
  known: boolean;
}

export type FrameworkStatus = "subscribed" | "disconnected" | "torn-down";

export interface FrameworkTornDown {
  known: boolean;
  tasks: number;
  offers: number;
  missing: number[];
}

export interface FrameworkTotal {
  framework_id: string;
  name: string;
  roles: string[];
  state: FrameworkStatus;
  wanted: boolean;
  allocated: string;
  offered: string;
  tasks: number;
  offers: number;
  dominant_share: number;
  registered_at: number;
  declined: Record<string, number>;
  withdrawn: Record<string, number>;
  shapes: Shape[] | null;
  shapes_truncated: boolean;
}

export interface GetAgents {
  filter?: string;
  sort?: string;
  limit?: number;
  after?: string;
  follow?: boolean;
  changed_since?: string;
  type: "GET_AGENTS";
}

export interface GetCluster {
  type: "GET_CLUSTER";
}

export interface GetConfig {
  type: "GET_CONFIG";
}

export interface GetDeadLetter {
  letter_id: string;
  type: "GET_DEAD_LETTER";
}

export interface GetDoctor {
  type: "GET_DOCTOR";
}

export interface GetEvents {
  after?: string;
  before?: string;
  kinds?: string[];
  limit?: number;
  type: "GET_EVENTS";
}

export interface GetHealth {
  type: "GET_HEALTH";
}

export interface GetHistory {
  series?: "10s" | "1m" | "10m";
  since?: number;
  until?: number | null;
  points?: number;
  type: "GET_HISTORY";
}

export interface GetJob {
  job_id: string;
  offset?: number;
  limit?: number;
  states?: string[];
  type: "GET_JOB";
}

export interface GetJobs {
  limit?: number;
  active?: boolean;
  which?: JobFilter;
  explain?: boolean;
  waits_group?: string;
  type: "GET_JOBS";
}

export interface GetMaintenance {
  agent_ids?: string[];
  type: "GET_MAINTENANCE";
}

export interface GetOverview {
  type: "GET_OVERVIEW";
}

export interface GetState {
  parts?: ("agents" | "frameworks" | "tasks" | "offers" | "roles")[];
  task_id?: string;
  framework_id?: string;
  agent_id?: string;
  limit?: number;
  after?: string;
  type: "GET_STATE";
}

export interface GetStory {
  id: string;
  limit?: number;
  type: "GET_STORY";
}

export interface GetTask {
  task_id: string;
  earlier?: boolean;
  type: "GET_TASK";
}

export interface GetTimeline {
  job_id: string;
  limit?: number;
  type: "GET_TIMELINE";
}

export interface GetUsage {
  agents: Record<string, unknown>;
  type: "GET_USAGE";
}

export interface GetWaitingJobs {
  type: "GET_WAITING_JOBS";
}

export interface GetWorkerHealth {
  type: "GET_WORKER_HEALTH";
}

export interface HealthView {
  masters: MasterReport[];
  expected: number;
  daemons: DaemonReport[];
  enrolled: string[];
}

export interface Hello {
  agent_id?: string;
  type: "HELLO";
}

export interface HelloAnswer {
  cluster: string;
  cells: number;
  max_term: number;
}

export interface HistoryPoint {
  at: number;
  agents: number;
  tasks: number;
  total: Record<string, number>;
  used: Record<string, number>;
  roles: Record<string, number>;
}

export interface HistoryView {
  series: "10s" | "1m" | "10m";
  step: number;
  points: HistoryPoint[];
  sampled: boolean;
}

export interface Identity {
  name: string;
  actions: string[];
  roles: string[];
  task_users: string[];
  may: Record<string, string>;
  checked: boolean;
}

export interface JobFilter {
  kind?: "all" | "active" | "ended";
  states?: ("pending" | "running" | "finished" | "failed" | "killed")[];
  name?: string;
  user?: string;
  role?: string;
  since?: number | null;
  until?: number | null;
  after?: number | null;
}

export interface JobList {
  jobs: JobSummary[];
  total: number;
  truncated: boolean;
  after: number | null;
}

export interface JobSpec {
  prefer?: string[];
  locality_wait?: number;
  name?: string;
  command: CommandInfo;
  resources?: string;
  limits?: string | null;
  isolation?: TaskIsolation | null;
  array?: [number, number] | null;
  ranges?: [number, number, number][];
  max_running?: number;
  retries?: number;
  retry_on?: number[];
  time_limit?: number | null;
  priority?: number;
  constraints?: string[];
  after?: Dependency[];
  kill_grace?: number | null;
  max_output?: number | null;
  user?: string;
  role?: string;
  rerun?: boolean;
  gang?: boolean;
  ports?: number;
  port_names?: string[];
  most?: number;
  per?: string;
  revocable?: boolean;
}

export interface JobSummary {
  local: number | null;
  picky: number | null;
  job_id: string;
  name: string;
  user: string;
  role: string;
  state: "pending" | "staging" | "running" | "finished" | "failed" | "killed";
  total: number;
  counts: Record<string, number>;
  exit_code: number | null;
  submitted_at: number;
  seq: number;
  ended_at: number | null;
  version: number;
  waiting: string;
  waits_group: string;
  waits_for: string[];
  reason: string;
}

export interface JobTask {
  task_id: string;
  job_id: string;
  index: number;
  attempt: number;
  state: string;
  exit_code: number | null;
  signal: number | null;
  agent_id: string;
  hostname: string;
  started_at: number | null;
  ended_at: number | null;
  message: string;
  cpu_seconds: number | null;
  memory_peak: number | null;
  io_read: number | null;
  io_written: number | null;
  measured_by: string;
}

export interface JobTaskDetails {
  task_id: string;
  job_id: string;
  index: number;
  attempt: number;
  state: string;
  exit_code: number | null;
  signal: number | null;
  agent_id: string;
  hostname: string;
  started_at: number | null;
  ended_at: number | null;
  message: string;
  cpu_seconds: number | null;
  memory_peak: number | null;
  io_read: number | null;
  io_written: number | null;
  measured_by: string;
  claimed_at: number | null;
  history: TaskStep[];
  history_truncated: boolean;
  attempts: JobTask[];
  attempts_truncated: boolean;
  latest: string;
}

export interface JobView {
  summary: JobSummary;
  spec: JobSpec;
  tasks: JobTask[];
  more: number | null;
}

export interface KillById {
  id: string;
  type: "KILL_BY_ID";
}

export interface KillJob {
  job_id: string;
  index?: number | null;
  type: "KILL_JOB";
}

export interface KillJobs {
  which: JobFilter;
  limit?: number;
  only_list?: boolean;
  type: "KILL_JOBS";
}

export interface KillJobsOfRole {
  which: JobFilter;
  limit?: number;
  only_list?: boolean;
  type: "KILL_JOBS_OF_ROLE";
}

export interface KillTask {
  task_id: string;
  type: "KILL_TASK";
}

export interface KillTaskAnswer {
  known: boolean;
  unreachable: string;
}

export interface Killed {
  kind: "job" | "task";
  job: JobSummary | null;
  unreachable: string[];
  note: string;
}

export interface KilledJobs {
  job_ids: string[];
  after: number | null;
}

export interface Layer {
  role: string;
  labels: Record<string, string>;
  static: boolean;
}

export interface ListDeadLetters {
  limit?: number;
  after?: string;
  type: "LIST_DEAD_LETTERS";
}

export interface ListFiles {
  task_id: string;
  path?: string;
  after?: string;
  limit?: number;
  type: "LIST_FILES";
}

export interface LogChunk {
  task_id: string;
  agent_id: string;
  data: string;
  offset: number;
  size: number;
  ended: boolean;
}

export interface MaintenanceView {
  agents: AgentMaintenance[];
  missing: number[];
}

export interface MarkAgentGone {
  agent_id: string;
  type: "MARK_AGENT_GONE";
}

export interface MasterReport {
  master_id: string;
  hostname: string;
  version: string;
  time: number;
  store: StoreReport;
  bus: BusReport;
  cells: CellReport[];
  dead_letters: number | null;
  policy_problem: string;
}

export interface MasterView {
  master_id: string;
  hostname: string;
  pid: number;
  version: string;
  age: number;
  policy: string;
}

export interface Match {
  kind: "agent" | "framework" | "role" | "job" | "task";
  id: string;
  text: string;
}

export interface Matches {
  found: Match[];
  truncated: boolean;
  missing: MissingCell[];
}

export interface MissingCell {
  cell: number;
  reason: string;
}

export interface OfferView {
  offer_id: string;
  cell: number;
  framework_id: string;
  agent_id: string;
  resources: string;
  age: number;
  role: string;
  expires_in: number | null;
}

export interface OperatorError {
  error: { code?: "conflict" | "denied" | "failed" | "invalid" | "not_found" | "timed_out" | "unavailable"; message?: string };
}

export interface Overview {
  agents: Record<string, number>;
  tasks: Record<string, number>;
  frameworks: Record<string, number>;
  offers: number;
  total: Record<string, number>;
  used: Record<string, number>;
  offered: Record<string, number>;
  waiting: WaitingTasks[];
  waiting_tasks: number;
  waiting_jobs: number | null;
  waiting_truncated: boolean;
  jobs: Record<string, number> | null;
  loads: CellLoad[];
  cells: OwnedCell[];
  missing: MissingCell[];
}

export interface OwnedCell {
  cell: number;
  owner: string;
  term: number;
}

export interface Placement {
  cell: number;
  would_run: boolean;
  agents: AgentObstacle[];
  truncated: boolean;
  counts: Record<string, number>;
  fits: number;
  together: number;
  place: number | null;
  ahead: Ahead[];
  unwanted: string;
  changes: Change[];
  unmatched: string[];
  unheld: string[];
  largest: Record<string, number>;
}

export interface PlanJob {
  spec: JobSpec;
  limit?: number;
  type: "PLAN_JOB";
}

export interface ReadLog {
  task_id: string;
  name?: "stdout" | "stderr";
  offset?: number;
  length?: number;
  wait?: number;
  type: "READ_LOG";
}

export interface ReadSandboxFile {
  task_id: string;
  name: string;
  offset?: number;
  length?: number;
  wait?: number;
  type: "READ_SANDBOX_FILE";
}

export interface ReadmitFramework {
  framework_id: string;
  type: "READMIT_FRAMEWORK";
}

export type Reason = "REASON_COMMAND_EXECUTOR_FAILED" | "REASON_TASK_INVALID" | "REASON_TASK_ID_IN_USE" | "REASON_INVALID_OFFERS" | "REASON_RECONCILIATION" | "REASON_SLAVE_REMOVED" | "REASON_SLAVE_REMOVED_BY_OPERATOR" | "REASON_SLAVE_DISCONNECTED" | "REASON_SLAVE_RESTARTED" | "REASON_SLAVE_REREGISTERED" | "REASON_TASK_UNKNOWN" | "REASON_FRAMEWORK_REMOVED" | "REASON_TASK_KILLED_DURING_LAUNCH" | "REASON_RESOURCES_UNKNOWN" | "REASON_SLAVE_DRAINING" | "REASON_CONTAINER_PREEMPTED" | "REASON_MAX_COMPLETION_TIME_REACHED" | "REASON_CONTAINER_LAUNCH_FAILED" | "REASON_CONTAINER_LIMITATION_DISK" | "REASON_CONTAINER_LIMITATION_MEMORY";

export interface Reservation {
  role: string;
  resources: string;
  labels: Record<string, string>;
  static: boolean;
  refines: Layer[];
}

export interface ReservationView {
  reservation: Reservation;
  unused: string;
}

export interface ReservationsView {
  agent_id: string;
  cell: number;
  reservations: ReservationView[];
  volumes: VolumeView[];
}

export interface ReserveResources {
  agent_id: string;
  request_id?: string;
  role: string;
  resources: string;
  labels?: Record<string, string>;
  refine?: string;
  type: "RESERVE_RESOURCES";
}

export interface RetryDeadLetters {
  letter_id?: string;
  type: "RETRY_DEAD_LETTERS";
}

export interface RetryJob {
  job_id: string;
  type: "RETRY_JOB";
}

export interface RoleChange {
  weight?: number | null;
  guarantee?: string | null;
  limit?: string | null;
  preempts?: boolean | null;
  clear?: ("weight" | "guarantee" | "limit" | "preempts")[];
}

export interface RoleSet {
  weight: number | null;
  guarantee: string;
  limit: string;
  preempts: boolean;
}

export interface RoleTotal {
  role: string;
  weight: number;
  frameworks: number;
  allocated: string;
  offered: string;
  held: string;
  dominant_share: number;
  guarantee: string;
  limit: string;
  preempts: boolean;
}

export interface RouteReport {
  agents: number;
  probed: number;
  unbound: string[];
  silent: string[];
  heartbeats_lost: boolean;
}

export interface SandboxEntry {
  name: string;
  kind: "file" | "folder" | "link" | "other";
  size: number;
  modified: number;
}

export interface ScheduleMaintenance {
  agent_ids: string[];
  start: number;
  duration?: number | null;
  type: "SCHEDULE_MAINTENANCE";
}

export interface Search {
  prefix: string;
  limit?: number;
  type: "SEARCH";
}

export interface SetPolicy {
  policy?: string;
  exclude?: string[] | null;
  version?: number | null;
  type: "SET_POLICY";
}

export interface SetRoles {
  roles: Record<string, RoleChange>;
  force?: boolean;
  version?: number | null;
  type: "SET_ROLES";
}

export interface Shape {
  resources: string;
  count: number;
  role: string;
  constraints: string[];
  gang: string;
  revocable: boolean;
  isolation: string[];
  ports: number;
  name: string;
  most: number;
  per: string;
  placed: Record<string, number>;
}

export type Source = "SOURCE_MASTER" | "SOURCE_AGENT" | "SOURCE_EXECUTOR";

export interface StartExec {
  task_id: string;
  exec_id: string;
  argv: string[];
  stdin?: boolean;
  tty?: boolean;
  rows?: number;
  columns?: number;
  term?: string;
  type: "START_EXEC";
}

export interface StateView {
  agents: AgentView[];
  frameworks: FrameworkTotal[];
  tasks: TaskView[];
  offers: OfferView[];
  roles: RoleTotal[];
  counts: Record<string, number>;
  loads: CellLoad[];
  missing: MissingCell[];
  truncated: ("agents" | "frameworks" | "tasks" | "offers" | "roles")[];
  after: string;
}

export interface StoreReport {
  error: string;
  server: string;
  time: number;
  round_trip: number;
  role: string;
  eviction: string;
  append_only: boolean | null;
  fsync: string;
  saving: boolean | null;
  used_memory: number;
  max_memory: number;
  outboxes: number[];
  certificates: CertificateReport[];
  in_process: boolean;
}

export interface StoryView {
  decisions: DecisionView[];
  since: number | null;
  missing: number[];
}

export interface SubmitJob {
  job_id: string;
  spec: JobSpec;
  wait?: number;
  type: "SUBMIT_JOB";
}

export interface TaskIsolation {
  level?: "" | "limits" | "sandboxed";
  pids?: number;
  rlimits?: Record<string, number>;
  pin?: boolean;
  network?: "" | "host" | "none";
  rootfs?: string;
  image?: string;
  oom?: "kill" | "ignore";
}

export type TaskState = "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING" | "TASK_KILLING" | "TASK_UNREACHABLE" | "TASK_FINISHED" | "TASK_FAILED" | "TASK_KILLED" | "TASK_ERROR" | "TASK_DROPPED" | "TASK_LOST" | "TASK_GONE" | "TASK_GONE_BY_OPERATOR" | "TASK_UNKNOWN";

export interface TaskStatus {
  task_id: string;
  state: TaskState;
  uuid: string;
  agent_id: string;
  framework_id: string;
  source: Source;
  reason: Reason | null;
  message: string;
  timestamp: number;
  exit_code: number | null;
  signal: number | null;
  started_at: number | null;
  cpu_seconds: number | null;
  memory_peak: number | null;
  io_read: number | null;
  io_written: number | null;
  measured_by: string;
  offer_id: string;
}

export interface TaskStep {
  state: string;
  at: number;
  reason: string;
}

export interface TaskUsage {
  cpu_seconds: number;
  memory: number;
}

export interface TaskUsages {
  tasks: Record<string, TaskUsage>;
  missing: string[];
}

export interface TaskView {
  task_id: string;
  cell: number;
  framework_id: string;
  agent_id: string;
  role: string;
  name: string;
  resources: string;
  state: TaskState;
  status: TaskStatus | null;
  created_at: number;
  history: TaskStep[];
  history_truncated: boolean;
}

export interface TearDownFramework {
  framework_id: string;
  type: "TEAR_DOWN_FRAMEWORK";
}

export interface Timeline {
  job_id: string;
  total: number;
  truncated: boolean;
  since: number;
  states: string[];
  agents: string[];
  index: number[];
  attempt: number[];
  state: number[];
  agent: number[];
  claimed: (number | null)[];
  started: (number | null)[];
  ended: (number | null)[];
}

export interface Unavailability {
  start: number;
  duration: number | null;
}

export interface UnreserveResources {
  agent_id: string;
  request_id?: string;
  role: string;
  resources: string;
  labels?: Record<string, string>;
  type: "UNRESERVE_RESOURCES";
}

export interface Usage {
  cpu_percent: number;
  mem_mb: number;
  disk_mb: number;
  load: number;
  lends_less: string;
  problems: string[];
}

export interface UseExec {
  exec_id: string;
  agent_id: string;
  out?: number | null;
  err?: number;
  input?: string;
  input_offset?: number;
  input_end?: boolean;
  rows?: number;
  columns?: number;
  signal?: "" | "HUP" | "INT" | "QUIT" | "KILL" | "USR1" | "USR2" | "TERM" | "CONT" | "STOP" | "TSTP" | "ALRM";
  signal_number?: number;
  close?: boolean;
  wait?: number;
  type: "USE_EXEC";
}

export interface Volume {
  volume_id: string;
  role: string;
  size: string;
  shared: boolean;
  labels: Record<string, string>;
  layers: Layer[];
}

export interface VolumeView {
  volume: Volume;
  tasks: string[];
}

export interface WaitJob {
  job_id: string;
  seconds?: number;
  seen?: number | null;
  type: "WAIT_JOB";
}

export interface WaitingJobs {
  groups: WaitingTasks[];
  jobs: number;
  tasks: number;
  truncated: boolean;
}

export interface WaitingTasks {
  group: string;
  tasks: number;
  jobs: number;
  frameworks: string[];
}

export interface WhoAmI {
  type: "WHO_AM_I";
}

/** Every request that users may send, with its answer. */
export interface Requests {
  ACTIVATE_AGENTS: { fields: ActivateAgents; answer: MaintenanceView };
  CANCEL_MAINTENANCE: { fields: CancelMaintenance; answer: MaintenanceView };
  CREATE_VOLUME: { fields: CreateVolume; answer: ReservationsView };
  DEACTIVATE_AGENTS: { fields: DeactivateAgents; answer: MaintenanceView };
  DESTROY_VOLUME: { fields: DestroyVolume; answer: ReservationsView };
  DRAIN_AGENTS: { fields: DrainAgents; answer: MaintenanceView };
  DROP_DEAD_LETTERS: { fields: DropDeadLetters; answer: DeadLettersSettled };
  EXPLAIN: { fields: Explain; answer: Explanation };
  FORGET_AGENT: { fields: ForgetAgent; answer: AgentForgotten };
  GET_AGENTS: { fields: GetAgents; answer: AgentColumns };
  GET_CLUSTER: { fields: GetCluster; answer: ClusterView };
  GET_CONFIG: { fields: GetConfig; answer: ConfigView };
  GET_DEAD_LETTER: { fields: GetDeadLetter; answer: DeadLetterDetail };
  GET_DOCTOR: { fields: GetDoctor; answer: DoctorReport };
  GET_EVENTS: { fields: GetEvents; answer: EventList };
  GET_HEALTH: { fields: GetHealth; answer: HealthView };
  GET_HISTORY: { fields: GetHistory; answer: HistoryView };
  GET_JOB: { fields: GetJob; answer: JobView };
  GET_JOBS: { fields: GetJobs; answer: JobList };
  GET_MAINTENANCE: { fields: GetMaintenance; answer: MaintenanceView };
  GET_OVERVIEW: { fields: GetOverview; answer: Overview };
  GET_STATE: { fields: GetState; answer: StateView };
  GET_STORY: { fields: GetStory; answer: StoryView };
  GET_TASK: { fields: GetTask; answer: JobTaskDetails };
  GET_TIMELINE: { fields: GetTimeline; answer: Timeline };
  GET_USAGE: { fields: GetUsage; answer: TaskUsages };
  GET_WAITING_JOBS: { fields: GetWaitingJobs; answer: WaitingJobs };
  GET_WORKER_HEALTH: { fields: GetWorkerHealth; answer: DaemonReport };
  HELLO: { fields: Hello; answer: HelloAnswer };
  KILL_BY_ID: { fields: KillById; answer: Killed };
  KILL_JOB: { fields: KillJob; answer: JobSummary };
  KILL_JOBS: { fields: KillJobs; answer: KilledJobs };
  KILL_JOBS_OF_ROLE: { fields: KillJobsOfRole; answer: KilledJobs };
  KILL_TASK: { fields: KillTask; answer: KillTaskAnswer };
  LIST_DEAD_LETTERS: { fields: ListDeadLetters; answer: DeadLetterList };
  LIST_FILES: { fields: ListFiles; answer: FolderView };
  MARK_AGENT_GONE: { fields: MarkAgentGone; answer: AgentGone };
  PLAN_JOB: { fields: PlanJob; answer: Explanation };
  READMIT_FRAMEWORK: { fields: ReadmitFramework; answer: FrameworkReadmitted };
  READ_LOG: { fields: ReadLog; answer: LogChunk };
  READ_SANDBOX_FILE: { fields: ReadSandboxFile; answer: LogChunk };
  RESERVE_RESOURCES: { fields: ReserveResources; answer: ReservationsView };
  RETRY_DEAD_LETTERS: { fields: RetryDeadLetters; answer: DeadLettersSettled };
  RETRY_JOB: { fields: RetryJob; answer: JobSummary };
  SCHEDULE_MAINTENANCE: { fields: ScheduleMaintenance; answer: MaintenanceView };
  SEARCH: { fields: Search; answer: Matches };
  SET_POLICY: { fields: SetPolicy; answer: ConfigView };
  SET_ROLES: { fields: SetRoles; answer: ConfigView };
  START_EXEC: { fields: StartExec; answer: ExecState };
  SUBMIT_JOB: { fields: SubmitJob; answer: JobSummary };
  TEAR_DOWN_FRAMEWORK: { fields: TearDownFramework; answer: FrameworkTornDown };
  UNRESERVE_RESOURCES: { fields: UnreserveResources; answer: ReservationsView };
  USE_EXEC: { fields: UseExec; answer: ExecState };
  WAIT_JOB: { fields: WaitJob; answer: JobSummary };
  WHO_AM_I: { fields: WhoAmI; answer: Identity };
}
