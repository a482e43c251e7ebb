#!/usr/bin/env node
// Starts Sealpost; on a Node that is too old it says so in one sentence. Written so that any Node since 6 can read it.
(function () {
  var oldest = 26;
  if (parseInt(process.version.slice(1), 10) < oldest) {
    console.error(
      "sealpost: Node " +
        oldest +
        " or newer is needed, this is " +
        process.version +
        ": run it as `npx sealpost`, or with node_modules/.bin/node, which npm ci has installed",
    );
    process.exitCode = 1;
    return;
  }
  // an old Node must not see the word import: it would stop before this file runs
  var load = "import('./runtime.js').then(function () { return import('../src/main.ts'); })";
  eval(load)
    .then(function (sealpost) {
      return sealpost.main(process.argv.slice(2));
    })
    .catch(function (error) {
      var hint = error.code === "ERR_MODULE_NOT_FOUND" ? "; run npm ci" : "";
      console.error("sealpost: cannot start: " + error.message.split("\n")[0] + hint);
      process.exitCode = 1;
    });
})();
