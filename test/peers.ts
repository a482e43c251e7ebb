// Run once before all tests: the real peers must be there.
export default function setup(): void {}
