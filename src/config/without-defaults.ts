import * as z from 'zod/mini'
import { seldomChecked } from '../util/issues.ts'
import { type VmConfig, vmConfigSchema } from './vm-config.ts'

/**
 * The configuration without what is as if nobody had said it: what a later release adds stands in it only where it is used, so that
 * a release that does not know it can read the rest. `parseVmConfig` gives all of it back.
 */
export function withoutDefaults(config: VmConfig): unknown {
  return reduced(vmConfigSchema, config)
}

function reduced(schema: z.core.$ZodType, value: unknown): unknown {
  if (schema instanceof z.core.$ZodDefault || schema instanceof z.core.$ZodOptional) {
    return reduced(schema._zod.def.innerType, value)
  }
  if (schema instanceof z.core.$ZodArray && Array.isArray(value)) {
    return value.map(item => reduced(schema._zod.def.element, item))
  }
  if (!(schema instanceof z.core.$ZodObject) || typeof value !== 'object' || value === null) return value
  const { shape } = schema._zod.def
  const entries = Object.entries(value).flatMap(([name, content]) => {
    const field = shape[name]
    if (field === undefined || content === undefined || isDefault(field, content)) return []
    return [[name, reduced(field, content)]]
  })
  return Object.fromEntries(entries)
}

function isDefault(schema: z.core.$ZodType, value: unknown): boolean {
  if (!(schema instanceof z.core.$ZodDefault)) return false
  return JSON.stringify(z.parse(schema, undefined, seldomChecked)) === JSON.stringify(value)
}
