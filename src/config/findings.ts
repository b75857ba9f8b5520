/**
 * What is found where options are looked at beside each other, or beside the files that they name.
 *
 * @module
 */
import type { ConfigDocument, FaultAspect } from './document.ts'
import type { ConfigPath, Fault } from './fault.ts'
import type { ParsedConfig } from './schema.ts'
import type { Salvaged } from './shape.ts'

/** What was found. A fault stands in the way of starting, a warning does not. */
export interface Finding {
  readonly severity: 'fault' | 'warning'
  readonly fault: Fault
}

/** Makes findings at a path. */
export interface Findings {
  fault(path: ConfigPath, message: string, advice: string, at?: FaultAspect): Finding
  warning(path: ConfigPath, message: string, advice: string, at?: FaultAspect): Finding
}

/** A configuration, as far as it is right. */
export type PartialConfig = Salvaged<ParsedConfig>

/** Findings of a document. */
export function findingsIn(document: ConfigDocument): Findings {
  return {
    fault: (...where) => ({ severity: 'fault', fault: document.faultAt(...where) }),
    warning: (...where) => ({ severity: 'warning', fault: document.faultAt(...where) }),
  }
}
