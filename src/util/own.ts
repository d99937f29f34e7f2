/** What a table says of a key that comes from outside: never what every object inherits, as `constructor` and `__proto__`. */
export function own<T>(table: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return table !== undefined && Object.hasOwn(table, key) ? table[key] : undefined
}
