//! Policy documents, written short.

/// A `NetworkPolicy`, `namespace/name`; `spec` holds its fields in YAML's flow style.
pub fn network(name: &str, spec: &str) -> String {
    annotated(name, "", spec)
}

/// The same in audit.
pub fn network_in_audit(name: &str, spec: &str) -> String {
    annotated(name, ", annotations: {windrose.dev/audit: \"true\"}", spec)
}

fn annotated(name: &str, annotations: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}{annotations}}}\nspec: {{{spec}}}\n"
    )
}

/// A policy that lets nothing into or out of a namespace's workloads.
pub fn isolate(namespace: &str) -> String {
    network(&format!("{namespace}/isolate"), "podSelector: {}, policyTypes: [Ingress, Egress]")
}

/// A `ClusterNetworkPolicy`; `rest` holds the other fields of its spec in YAML's flow style.
pub fn cluster(name: &str, tier: &str, priority: u32, rest: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: {name}}}\nspec: {{tier: {tier}, priority: {priority}, {rest}}}\n"
    )
}

/// The number of the first line that contains a text; 0 if none does.
pub fn line_of(policy: &str, text: &str) -> usize {
    policy.lines().position(|line| line.contains(text)).map_or(0, |at| at + 1)
}

/// A Service, `namespace/name`; annotations and `spec` hold their fields in YAML's flow style.
pub fn service(name: &str, annotations: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!(
        "---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}}}\n\
         spec: {{{spec}}}\n"
    )
}
