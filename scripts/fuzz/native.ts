import { execa } from 'execa'

/** What readers in the addon take: patterns of the tests that do it. */
export const nativeTargets = {
  /** Disk images of every format. */
  images: '*.NoImageDoesMoreThanFail',
  /** Memory on its way to another host. */
  migration: 'FrameFuzzTest.*:*.NoAnswerDoesMoreThanEndTheConnection*',
} as const

/** By the addon's tests under AddressSanitizer; what is found is told with its seed. Returns an exit code. */
export async function fuzzNative(name: keyof typeof nativeTargets, seconds: number, seed: number): Promise<number> {
  const inherit = { stdio: 'inherit', reject: false } as const
  const built = await execa('scripts/build-native', ['--variant', 'asan', '--tests'], inherit)
  if (built.failed) return 1
  const env = { TSVMM_FUZZ_SECONDS: String(Math.ceil(seconds)), TSVMM_FUZZ_SEED: String(seed) }
  const tests = [`--gtest_filter=${nativeTargets[name]}`]
  const { failed } = await execa('build/asan/native_tests', tests, { ...inherit, env })
  return failed ? 1 : 0
}
