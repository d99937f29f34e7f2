/** What of a state JSON has no words for, as hexadecimal text: `0x1f` of large numbers, two digits a byte of bytes. */
export function asJson(content: unknown): unknown {
  if (typeof content === 'bigint') return `0x${content.toString(16)}`
  if (content instanceof Uint8Array) return Buffer.from(content).toString('hex')
  if (Array.isArray(content)) return content.map(asJson)
  if (typeof content !== 'object' || content === null) return content
  return Object.fromEntries(Object.entries(content).map(([key, value]) => [key, asJson(value)]))
}
