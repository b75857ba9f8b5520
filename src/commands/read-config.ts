/**
 * The process that `config-reader.ts` starts: reads one configuration, says what it is, and ends.
 *
 * @module
 */
import { ConfigFaults, printFault } from '../config/fault.ts'
import { loadConfig } from '../config/load.ts'
import type { Said } from './config-reader.ts'

const [file] = process.argv.slice(2)
process.send?.(await read(file!))
process.disconnect?.()

async function read(path: string): Promise<Said> {
  try {
    const { config } = await loadConfig(path, process.env)
    return { config }
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    const faults = error.faults.map(fault => printFault(fault))
    return { fault: { message: error.message, faults } }
  }
}
