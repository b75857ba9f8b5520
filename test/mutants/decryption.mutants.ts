/** What is planted to try the tests of decryption. @module */
import type { Mutant, Reasons } from './mutant.ts'

const GATEWAY = ['test/gateway/inbound.test.ts'] as const

export const MUTANTS: readonly Mutant[] = [
  {
    row: 'B1',
    defect: 'the keys of everybody are tried',
    file: 'src/crypto/smime/decrypt.ts',
    find: 'names(info.recipient, one.certificate) && suits(info, one)',
    replace: 'suits(info, one)',
    tests: GATEWAY,
  },
]

export const REASONS: Reasons = {}
