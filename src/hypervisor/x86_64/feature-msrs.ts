import { parseBitNames, setBits } from './cpuid/feature-names.ts'

/**
 * MSRs that say what a CPU can do, and how the value of one CPU is compared with another's:
 * `features`: each bit is something that there is; `controls`: the low half has the bits that must be set, the high half
 * those that may be (Intel SDM Vol. 3D appendix A.2 to A.5).
 */
interface FeatureMsr {
  readonly index: number
  readonly name: string
  readonly kind: 'features' | 'controls'
  readonly bits: ReadonlyMap<number, string>
}

export const archCapabilities = 0x10a

/**
 * Bits that a host may lack, or have, without harm to a guest that sees otherwise are not listed: RSBA and RRSBA say that
 * there is a weakness. From the Intel SDM Vol. 4 (table 2-2) and the AMD PPR (DE_CFG).
 */
const known: readonly FeatureMsr[] = [
  features(
    archCapabilities,
    'arch_capabilities',
    '0 rdcl_no ibrs_all 3 skip_l1dfl_vmentry ssb_no mds_no if_pschange_mc_no tsx_ctrl taa_no mcu_control misc_package_ctls ' +
      'energy_filtering_ctl doitm sbdr_ssdp_no fbsdp_no psdp_no 17 fb_clear fb_clear_ctrl 20 bhi_no xapic_disable_status ' +
      '23 overclocking_status pbrsb_no gds_ctrl gds_no rfds_no rfds_clear ign_umonitor_support mon_umon_mitg_support ' +
      '62 its_no',
  ),
  features(0xc001_1029, 'de_cfg', '1 lfence_serializing'),
  features(0x48c, 'vmx_ept_vpid', ''),
  features(0x491, 'vmx_vmfunc', '0 vmx_eptp_switching'),
  controls(0x48b, 'vmx_secondary'),
  controls(0x48d, 'vmx_pinbased'),
  controls(0x48e, 'vmx_procbased'),
  controls(0x48f, 'vmx_exit'),
  controls(0x490, 'vmx_entry'),
]

/** RSBA and RRSBA. */
const weaknesses = (1n << 2n) | (1n << 19n)

export const featureMsrIndices: readonly number[] = known.map(({ index }) => index)

/** What a CPU with `wanted` has and one with `offered` has not. */
export function missingInMsr(index: number, wanted: bigint, offered: bigint): string[] {
  const msr = known.find(each => each.index === index)
  if (msr === undefined) return []
  const lacking = wanted & ~offered & ~(index === archCapabilities ? weaknesses : 0n)
  if (msr.kind === 'features') return bitsOf(msr, lacking)
  // What may be set there must be possible here; what must be set here must be so there.
  return bitsOf(msr, ((lacking >> 32n) | (offered & ~wanted)) & 0xffff_ffffn)
}

function bitsOf({ name, bits }: FeatureMsr, value: bigint): string[] {
  return setBits(value).map(bit => bits.get(bit) ?? `${name} bit ${bit}`)
}

function features(index: number, name: string, bits: string): FeatureMsr {
  return { index, name, kind: 'features', bits: parseBitNames(bits) }
}

function controls(index: number, name: string): FeatureMsr {
  return { index, name, kind: 'controls', bits: new Map() }
}
