/** What is planted to try the tests of who may learn of whom, and of how strong a message is. @module */
import type { Mutant } from './mutant.ts'

const HIDDEN = ['test/gateway/hidden.test.ts'] as const
const ENCRYPTION = ['test/gateway/encryption.test.ts'] as const
const DEVICES = ['test/gateway/devices.test.ts'] as const
const CHOICE_TESTS = ['test/crypto/smime/encryption-choice.test.ts'] as const
const COPY_TESTS = ['test/gateway/author-copy.test.ts'] as const

const SHIPPING = 'src/gateway/shipping.ts'
const SIGNING = 'src/crypto/smime/sign-message.ts'
const CHOICE = 'src/crypto/smime/encryption-choice.ts'

export const MUTANTS: readonly Mutant[] = [
  {
    row: 'B67',
    defect: 'whoever is hidden shares the message of the others',
    file: SHIPPING,
    find: 'isVisible(forwardPath.mailbox) ? undefined : forwardPath.mailbox.toString()',
    replace: 'undefined',
    tests: ENCRYPTION,
  },
  {
    row: 'B67',
    defect: 'all who are hidden share one message',
    file: SHIPPING,
    find: 'isVisible(forwardPath.mailbox) ? undefined : forwardPath.mailbox.toString()',
    replace: "isVisible(forwardPath.mailbox) ? undefined : 'hidden'",
    tests: HIDDEN,
  },
  {
    row: 'B67',
    defect: 'whom Bcc names stands there for all to see',
    file: SHIPPING,
    find: "const DESTINATIONS = ['to', 'cc', 'resent-to', 'resent-cc'] as const",
    replace:
      "const DESTINATIONS = ['to', 'cc', 'bcc', 'resent-to', 'resent-cc', 'resent-bcc'] as const",
    tests: HIDDEN,
  },
  {
    row: 'B67',
    defect: 'a field that cannot be read shows everybody',
    file: SHIPPING,
    find: 'if (error instanceof PosternError) return new Set()',
    replace:
      'if (error instanceof PosternError) return { has: () => true } as unknown as ReadonlySet<string>',
    tests: HIDDEN,
  },
  {
    row: 'B67',
    defect: 'colleagues of somebody who is seen are seen',
    file: SHIPPING,
    find: 'return named.has(mailbox.matchKey)',
    replace: "return [...named].some(it => it.endsWith('@' + mailbox.domain))",
    tests: ENCRYPTION,
  },
  {
    row: 'B67',
    defect: 'Bcc leaves with the message',
    file: SIGNING,
    find: "new Set(['bcc', 'resent-bcc'])",
    replace: "new Set(['resent-bcc'])",
    tests: HIDDEN,
  },
  {
    row: 'B67',
    defect: 'Resent-Bcc leaves with the message',
    file: SIGNING,
    find: "new Set(['bcc', 'resent-bcc'])",
    replace: "new Set(['bcc'])",
    tests: HIDDEN,
  },
  {
    row: 'B67',
    defect: 'one certificate for several tells how many they are',
    file: 'src/crypto/cms/recipient-info.ts',
    find: '[...new Map(recipients.map(one => [one.certificate.fingerprint, one])).values()]',
    replace: 'recipients',
    tests: ['test/crypto/cms/enveloped-data.test.ts'],
  },
  {
    row: 'B67',
    defect: 'whoever is hidden shares the message of the others where the author has a copy',
    file: SHIPPING,
    find: ': forwardPath.mailbox.toString()\n',
    replace: ': wish.encryptToAuthor ? undefined : forwardPath.mailbox.toString()\n',
    tests: COPY_TESTS,
  },
  {
    row: 'B67',
    defect: 'our Received field says for whom the message is',
    file: 'src/gateway/gateway.ts',
    find: '      utf8: this.#opening.options.utf8,\n    })',
    replace:
      '      utf8: this.#opening.options.utf8,\n      recipient: group.forwardPaths.at(-1)!.mailbox.toString(),\n    })',
    and: [
      {
        file: 'src/smtp/trace.ts',
        find: 'const { client, hostname, id, date } = parts',
        replace:
          "const { client, hostname, date } = parts\n  const id = [parts.id, 'for', (parts as { recipient?: string }).recipient].join(' ')",
      },
    ],
    tests: HIDDEN,
  },
  {
    row: 'B70',
    defect: 'strength parts nobody',
    file: SHIPPING,
    find: '[sign, sign && signature, strength, wish.encryptToAuthor]',
    replace: '[sign, sign && signature, wish.encryptToAuthor]',
    tests: DEVICES,
  },
  {
    row: 'B70',
    defect: 'one cipher is as strong as another',
    file: CHOICE,
    find: 'strengthKey({ content, management }: EncryptionChoice): string {\n',
    replace:
      "strengthKey({ management }: EncryptionChoice): string {\n  const content = { name: '' }\n",
    tests: CHOICE_TESTS,
  },
  {
    row: 'B70',
    defect: 'one length of a key is as strong as another',
    file: CHOICE,
    find: 'strengthKey({ content, management }: EncryptionChoice): string {\n',
    replace:
      'strengthKey({ content: { authenticated }, management }: EncryptionChoice): string {\n  const content = { name: authenticated }\n',
    tests: CHOICE_TESTS,
  },
  {
    row: 'B70',
    defect: 'PKCS #1 v1.5 is as strong as OAEP',
    file: CHOICE,
    find: "management.name === 'rsa-pkcs1' ? 'rsa-pkcs1' : 'any'",
    replace: "'any'",
    tests: CHOICE_TESTS,
  },
  {
    row: 'B70',
    defect: 'the weaker of two devices of one recipient does not count',
    file: SHIPPING,
    find: 'return [...new Set(strengths)].toSorted().join()',
    replace: 'return strengths[0]!',
    tests: DEVICES,
  },
  {
    row: 'B70',
    defect: 'one message has what its strongest device reads',
    file: CHOICE,
    find: '.toSorted(byStrength)\n    .at(-1)!',
    replace: '.toSorted(byStrength)\n    .at(0)!',
    tests: DEVICES,
  },
  {
    row: 'B70',
    defect: 'a copy for the author may make the message weaker',
    file: 'src/gateway/author-copy.ts',
    find: '.find(candidate => strengthKey(candidate) === strengthKey(choice))',
    replace: '.find(() => true)',
    tests: COPY_TESTS,
  },
]
