/** Addresses that only this machine or its network reaches: a server of the internet must not lead the command to them. */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

const PRIVATE = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const) {
  PRIVATE.addSubnet(network, bits, 'ipv4');
}
PRIVATE.addAddress('::', 'ipv6');
PRIVATE.addAddress('::1', 'ipv6');
PRIVATE.addSubnet('fc00::', 7, 'ipv6');
PRIVATE.addSubnet('fe80::', 10, 'ipv6');

/** @param address of IPv4 or IPv6 */
export function isPrivate(address: string): boolean {
  return PRIVATE.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** Code of the error for a name that leads into a private network. */
export const PRIVATE_TARGET = 'ERR_PRIVATE_TARGET';

export const privateTarget = (host: string): string =>
  `a server of the internet redirects to ${host}, an address of a private network: if you trust it, name that address instead`;

/** Looks up a name, and refuses one that leads into a private network. */
export const lookupPublic: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) {
      callback(error, '', 4);
      return;
    }
    const [first] = addresses;
    if (!first) callback(new Error(`no address of ${hostname}`), '', 4);
    else if (addresses.some(({ address }) => isPrivate(address)))
      callback(Object.assign(new Error(privateTarget(hostname)), { code: PRIVATE_TARGET }), '', 4);
    else if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};
