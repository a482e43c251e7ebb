// OpenPGP.js, loaded when the first key or signature is read: a relay that never sees one does without its 20 MiB.

export const openpgp = () => import("openpgp");
