import { defineState, type StateOf } from '../state/schema.ts'
import { bytes, list, object, optional, u32, u64 } from '../state/shapes.ts'

/** More than KVM has of any of these. */
const mostMsrs = 4096
const mostCpuidBytes = 256 * 40
const mostXsaveBytes = 64 * 1024
const nestedHeaderBytes = 128
const mostNestedBytes = nestedHeaderBytes + 8192

/** Registers as the structures of <asm/kvm.h>, whose layouts the kernel keeps. */
export const x86VcpuState = defineState(
  'vcpu-x86_64',
  object({
    /** struct kvm_cpuid_entry2, one after the other. */
    cpuid: bytes(0, mostCpuidBytes),
    mpState: bytes(4),
    regs: bytes(144),
    sregs: bytes(312),
    xcrs: bytes(392),
    xsave: bytes(4096, mostXsaveBytes),
    debugregs: bytes(128),
    lapic: bytes(1024),
    events: bytes(64),
    /** struct kvm_nested_state; absent where the hypervisor has none. */
    nestedState: optional(bytes(nestedHeaderBytes, mostNestedBytes)),
    msrs: list(object({ index: u32, value: u64 }), mostMsrs),
  }),
)

export type SavedX86Vcpu = StateOf<typeof x86VcpuState>
