// Where what can be looked at is: what stands behind the # of the page's address.

const DEFAULT_TENANT = "default";

export const listHash = (parameters) => `#/?${new URLSearchParams(parameters)}`;
const quoted = (value) => `"${value.replace(/[\\"]/g, "\\$&")}"`;
export const filterHash = (field, value) => listHash({ filter: `${field}:${quoted(value)}` });
export const ofTenant = (trace) => trace.tenant !== DEFAULT_TENANT || trace.otherTenants?.length > 0;

const tenantQuery = (tenant) => (tenant ? `?${new URLSearchParams({ tenant })}` : "");

/** The session of a trace; others may use its id as well. */
export const sessionHash = (trace) => `#/s/${encodeURIComponent(trace.sessionId)}${tenantQuery(trace.tenant && ofTenant(trace) && trace.tenant)}`;
export const sessionFilter = (id, tenant) => `session:${quoted(id)}${tenant ? ` tenant:${quoted(tenant)}` : ""}`;

/** Whose a trace is stands in its address where there are tenants: several may have one of its id. */
export function traceHash(trace, chosen) {
  return `#/t/${trace.id}${chosen ? `/${chosen}` : ""}${tenantQuery(ofTenant(trace) && trace.tenant)}`;
}
