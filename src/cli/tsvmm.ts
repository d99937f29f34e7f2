#!/usr/bin/env node
import { enableCompileCache } from 'node:module'
import { invokedAs, versionText } from './version.ts'

/** What package.json asks for; nothing but a package manager looks there. */
const oldestNode = 24

// Start-up is part of boot time: compiled code is kept, and what a command does not need is not loaded.
if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  console.log(versionText(invokedAs()))
} else if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  console.error(`tsvmm: error: Node ${process.versions.node} is too old, ${oldestNode} or newer is needed`)
  process.exitCode = 1
} else {
  enableCompileCache()
  const { main } = await import('./program.ts')
  process.exitCode = await main(process.argv)
}
