// Where what can be looked at is: what stands behind the # of the page's address.

const DEFAULT_TENANT = "default";

export const listHash = (parameters) => `#/?${new URLSearchParams(parameters)}`;
const quoted = (value) => `"${value.replace(/[\\"]/g, "\\$&")}"`;
export const ofTenant = (trace) => trace.tenant !== DEFAULT_TENANT || trace.otherTenants?.length > 0;

/** The session of a trace; others may use its id as well. */
export const sessionHash = (trace) =>
  listHash({ filter: `session:${quoted(trace.sessionId)}${ofTenant(trace) ? ` tenant:${quoted(trace.tenant)}` : ""}` });

/** Whose a trace is stands in its address where there are tenants: several may have one of its id. */
export function traceHash(trace, chosen) {
  const query = ofTenant(trace) ? `?${new URLSearchParams({ tenant: trace.tenant })}` : "";
  return `#/t/${trace.id}${chosen ? `/${chosen}` : ""}${query}`;
}
