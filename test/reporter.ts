// The closing line of a test run: `N passed, N failed`.
import type { Reporter, TestModule } from "vitest/node";

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    // a file that cannot be loaded, or an error outside a test, is a failure too
    let failed = unhandled.length;
    let skipped = 0;
    for (const module of modules) {
      const tests = [...module.children.allTests()];
      if (tests.length === 0) failed++;
      for (const test of tests) {
        const { state } = test.result();
        if (state === "passed") passed++;
        else if (state === "failed") failed++;
        else skipped++;
      }
    }
    // nothing is ever skipped here: a skipped test counts as failed
    console.log(`${passed} passed, ${failed + skipped} failed`);
    if (failed + skipped > 0) process.exitCode = 1;
  }
}
