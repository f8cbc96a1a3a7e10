//! Offsets of kernel fields, read from the running kernel's BTF.

use std::collections::HashMap;
use std::fs;

use windrose_abi::Offsets;

use crate::error::DatapathError;

const PATH: &str = "/sys/kernel/btf/vmlinux";
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

struct Member {
    name: u32,
    kind: u32,
    bit_offset: u32,
}

struct Btf<'a> {
    strings: &'a [u8],
    /// Members by type id, of structs and unions only.
    members: HashMap<u32, Vec<Member>>,
    structs: HashMap<&'a str, u32>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Btf<'a> {
    /// Parses the format of Documentation/bpf/btf.rst as far as structs need it.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = usize::try_from(word(bytes, 4)?).ok()?;
        let at = |n| word(bytes, n).and_then(|value| usize::try_from(value).ok());
        let types = bytes.get(header + at(8)?..header + at(8)? + at(12)?)?;
        let strings = bytes.get(header + at(16)?..header + at(16)? + at(20)?)?;
        let mut btf = Self { strings, members: HashMap::new(), structs: HashMap::new() };
        let (mut position, mut id) = (0, 1);
        while position + 12 <= types.len() {
            let name = word(types, position)?;
            let info = word(types, position + 4)?;
            let (kind, count, bitfields) = ((info >> 24) & 0x1f, info & 0xffff, info >> 31 != 0);
            let count_bytes = usize::try_from(count).ok()?;
            position += 12;
            let extra = match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count_bytes,
                6 | 13 => 8 * count_bytes,
                _ => 0,
            };
            if kind == KIND_STRUCT || kind == KIND_UNION {
                let mut members = Vec::with_capacity(count_bytes);
                for n in 0..count_bytes {
                    let offset = word(types, position + 12 * n + 8)?;
                    members.push(Member {
                        name: word(types, position + 12 * n)?,
                        kind: word(types, position + 12 * n + 4)?,
                        bit_offset: if bitfields { offset & 0x00ff_ffff } else { offset },
                    });
                }
                btf.members.insert(id, members);
                if kind == KIND_STRUCT {
                    let name = btf.string(name)?;
                    btf.structs.entry(name).or_insert(id);
                }
            }
            position += extra;
            id += 1;
        }
        Some(btf)
    }

    fn string(&self, at: u32) -> Option<&'a str> {
        let rest = self.strings.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Byte offset of a field, looked for in unnamed members, too.
    fn offset(&self, type_id: u32, field: &str) -> Option<u32> {
        for member in self.members.get(&type_id)? {
            let name = self.string(member.name)?;
            if name == field {
                return Some(member.bit_offset / 8);
            }
            if name.is_empty()
                && let Some(inner) = self.offset(member.kind, field)
            {
                return Some(member.bit_offset / 8 + inner);
            }
        }
        None
    }

    fn of(&self, structure: &str, field: &str) -> Result<u32, DatapathError> {
        self.structs.get(structure).and_then(|id| self.offset(*id, field)).ok_or_else(|| DatapathError::Kernel {
            missing: format!("field `{field}` of `struct {structure}` in {PATH}"),
            remedy: "this kernel's layout is not known to this version: report it with the output of `uname -r`"
                .to_owned(),
        })
    }
}

/// The offsets that the programs read.
pub(crate) fn offsets() -> Result<Offsets, DatapathError> {
    let bytes = fs::read(PATH).map_err(|source| DatapathError::File { path: PATH.into(), source })?;
    let btf = Btf::parse(&bytes).ok_or_else(|| DatapathError::Kernel {
        missing: format!("readable BTF in {PATH}"),
        remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned(),
    })?;
    Ok(Offsets {
        bytes_sent: btf.of("tcp_sock", "bytes_sent")?,
        bytes_retrans: btf.of("tcp_sock", "bytes_retrans")?,
        bytes_received: btf.of("tcp_sock", "bytes_received")?,
        segs_out: btf.of("tcp_sock", "segs_out")?,
        segs_in: btf.of("tcp_sock", "segs_in")?,
        srtt_us: btf.of("tcp_sock", "srtt_us")?,
        // struct minmax { struct minmax_sample { u32 t; u32 v; } s[3]; }: the best is s[0].v.
        rtt_min: btf.of("tcp_sock", "rtt_min")? + 4,
        total_retrans: btf.of("tcp_sock", "total_retrans")?,
        state: btf.of("sock_common", "skc_state")?,
        cgroup_kn: btf.of("cgroup", "kn")?,
        kernfs_id: btf.of("kernfs_node", "id")?,
        cgroup_root: btf.of("cgroup", "root")?,
        hierarchy_id: btf.of("cgroup_root", "hierarchy_id")?,
        flags: btf.of("sock_common", "skc_flags")?,
        sock_cgroup: btf.of("sock", "sk_cgrp_data")?,
        cgroup_level: btf.of("cgroup", "level")?,
        cgroup_ancestors: btf.of("cgroup", "ancestors")?,
        local_port: btf.of("sock_common", "skc_num")?,
        peer_port: btf.of("sock_common", "skc_dport")?,
        family: btf.of("sock_common", "skc_family")?,
        local_v4: btf.of("sock_common", "skc_rcv_saddr")?,
        peer_v4: btf.of("sock_common", "skc_daddr")?,
        local_v6: btf.of("sock_common", "skc_v6_rcv_saddr")?,
        peer_v6: btf.of("sock_common", "skc_v6_daddr")?,
        sock_net: btf.of("sock_common", "skc_net")?,
        net_cookie: btf.of("net", "net_cookie")?,
    })
}

#[cfg(test)]
mod tests;
