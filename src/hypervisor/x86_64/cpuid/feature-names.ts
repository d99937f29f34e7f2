import type { CpuidRegisters } from './entry.ts'

/** A register of CPUID in which each bit says whether there is something. */
export interface FeatureWord {
  /** As in files and messages: leaf, subleaf and register, `0x7.0.ebx`. */
  readonly name: string
  readonly leaf: number
  readonly subleaf: number
  readonly register: keyof CpuidRegisters
}

/**
 * The bits by name: a number is the bit of the name behind it, the next name is the next bit. The names are those of Linux's
 * /proc/cpuinfo where it has one. From the Intel SDM Vol. 2A (CPUID; leaf 0xd also Vol. 1 §13.1), the AMD APM Vol. 3 appendix E
 * (0x8000_0000 on) and Linux Documentation/virt/kvm/x86/cpuid.rst (0x4000_0001).
 */
const named: Readonly<Record<string, string>> = {
  '0x1.0.edx':
    '0 fpu vme de pse tsc msr pae mce cx8 apic 11 sep mtrr pge mca cmov pat pse36 pn clflush 21 dts acpi mmx fxsr sse ' +
    'sse2 ss ht tm ia64 pbe',
  '0x1.0.ecx':
    '0 pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm 17 pcid dca sse4_1 ' +
    'sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor',
  '0x6.0.eax': '0 dtherm ida arat 4 pln 6 pts hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req 13 hdc 19 hfi',
  '0x7.0.ebx':
    '0 fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a ' +
    'avx512f avx512dq rdseed adx smap avx512ifma 23 clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni ' +
    'avx512bw avx512vl',
  '0x7.0.ecx':
    '0 prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni ' +
    'avx512_bitalg tme avx512_vpopcntdq 16 la57 22 rdpid key_locker bus_lock_detect cldemote 27 movdiri movdir64b ' +
    'enqcmd sgx_lc pks',
  '0x7.0.edx':
    '1 sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr 8 avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort 13 ' +
    'tsx_force_abort serialize hybrid_cpu tsxldtrk 18 pconfig arch_lbr ibt 22 amx_bf16 avx512_fp16 amx_tile amx_int8 ' +
    'spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities ssbd',
  '0x7.1.eax':
    '0 sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext 10 fzrm fsrs fsrc 17 fred lkgs ' +
    'wrmsrns nmi_src amx_fp16 hreset avx_ifma 26 lam msrlist 31 movrs',
  '0x7.1.edx':
    '4 avx_vnni_int8 avx_ne_convert 8 amx_complex 10 avx_vnni_int16 13 utmr prefetchi user_msr 17 uiret_uif cet_sss ' +
    'avx10 21 apx_f',
  '0x7.2.edx': '0 psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no uclock_disable monitor_mitg_no',
  '0xd.0.eax':
    '0 xsave:x87 xsave:sse xsave:avx xsave:bndregs xsave:bndcsr xsave:opmask xsave:zmm_hi256 xsave:hi16_zmm 9 ' +
    'xsave:pkru 17 xsave:tilecfg xsave:tiledata xsave:apx',
  '0xd.0.edx': '',
  '0xd.1.eax': '0 xsaveopt xsavec xgetbv1 xsaves xfd',
  '0xd.1.ecx': '8 xsave:pt 10 xsave:pasid xsave:cet_user xsave:cet_kernel xsave:hdc xsave:uintr xsave:lbr xsave:hwp',
  '0x40000001.0.eax':
    '0 kvm_clocksource kvm_nop_io_delay kvm_mmu_op kvm_clocksource2 kvm_async_pf kvm_steal_time kvm_pv_eoi ' +
    'kvm_pv_unhalt 9 kvm_pv_tlb_flush kvm_async_pf_vmexit kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield ' +
    'kvm_async_pf_int kvm_msi_ext_dest_id kvm_hc_map_gpa_range kvm_migration_control 24 kvm_clocksource_stable',
  '0x80000001.0.ecx':
    '0 lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt 15 lwp ' +
    'fma4 tce 19 nodeid_msr 21 tbm topoext perfctr_core perfctr_nb 26 bpext ptsc perfctr_llc mwaitx addr_mask_ext',
  '0x80000001.0.edx':
    '0 fpu vme de pse tsc msr pae mce cx8 apic 11 syscall mtrr pge mca cmov pat pse36 19 mp nx 22 mmxext mmx fxsr ' +
    'fxsr_opt pdpe1gb rdtscp 29 lm 3dnowext 3dnow',
  '0x80000007.0.ebx': '0 overflow_recov succor hwa smca',
  '0x80000007.0.edx':
    '0 ts fid vid ttp hwtm stc 100mhzsteps hwpstate invariant_tsc cpb eff_freq_ro proc_feedback acc_power',
  '0x80000008.0.ebx':
    '0 clzero irperf xsaveerptr invlpgb rdpru 8 mcommit wbnoinvd 12 ibpb int_wbinvd ibrs stibp ibrs_always_on ' +
    'stibp_always_on ibrs_preferred ibrs_same_mode no_efer_lmsle invlpgb_nested 23 amd_ppin amd_ssbd virt_ssbd ' +
    'amd_ssb_no cppc amd_psfd btc_no ibpb_ret brs',
  '0x8000000a.0.edx':
    '0 npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists 10 pausefilter 12 pfthreshold avic ' +
    '15 v_vmsave_vmload vgif gmet x2avic sss_check v_spec_ctrl 23 host_mce_override tlbictl vnmi ibs_virt',
  '0x80000021.0.eax':
    '0 no_nested_data_bp wrmsr_xx_base_ns lfence_rdtsc smm_page_cfg_lock 5 verw_clear null_sel_clr_base ' +
    'upper_addr_ignore autoibrs no_smm_ctl_msr amd_fsrs amd_fsrc 13 prefetch_ctl_msr 17 cpuid_user_dis epsf 20 ' +
    'amd_prefetchi 27 sbpb ibpb_brtype srso_no srso_user_kernel_no srso_bp_spec_reduce',
  '0x80000021.0.ecx': '1 tsa_sq_no tsa_l1_no',
  '0x80000022.0.eax': '0 perfmon_v2 amd_lbr_v2 amd_lbr_pmc_freeze',
}

/** The word that a name stands for, which is `0x7.0.ebx`: leaf, subleaf and register; undefined for what is none. */
export function parseWordName(name: string): FeatureWord | undefined {
  const { leaf, subleaf, register } =
    /^0x(?<leaf>[0-9a-f]{1,8})\.(?<subleaf>\d{1,3})\.(?<register>e[abcd]x)$/.exec(name)?.groups ?? {}
  if (register !== 'eax' && register !== 'ebx' && register !== 'ecx' && register !== 'edx') return undefined
  return { name, leaf: Number(`0x${leaf}`), subleaf: Number(subleaf), register }
}

export const featureWords: readonly FeatureWord[] = Object.keys(named).flatMap(name => parseWordName(name) ?? [])

const names: ReadonlyMap<string, ReadonlyMap<number, string>> = new Map(
  Object.entries(named).map(([word, text]) => [word, parseBitNames(text)]),
)

/** Every bit by its name, or as `0x7.0.ebx bit 22` where it has none. */
export function featureNames(word: string, bits: number): string[] {
  return setBits(BigInt(bits >>> 0)).map(bit => names.get(word)?.get(bit) ?? `${word} bit ${bit}`)
}

/** Places of the bits that are set, from the lowest on. */
export function setBits(value: bigint): number[] {
  return Array.from({ length: 64 }, (_, bit) => bit).filter(bit => ((value >> BigInt(bit)) & 1n) !== 0n)
}

/** Names in the form of the table above. */
export function parseBitNames(text: string): Map<number, string> {
  const result = new Map<number, string>()
  let bit = 0
  for (const word of text.split(' ')) {
    if (/^\d*$/.test(word)) bit = Number(word)
    else result.set(bit++, word)
  }
  return result
}
