// Python as HTML, with the classes of Pygments, so that changed code has the colours of the rest. No imports, no parser:
// strings, comments, numbers, keywords, builtins, the names after def and class.
"use strict";

const highlightPython = (() => {
  const keywords = new Set(("and as assert async await break class continue def del elif else except finally for from global if " +
    "import in is lambda nonlocal not or pass raise return try while with yield").split(" "));
  const constants = new Set(["True", "False", "None"]);
  const builtins = new Set(("abs all any bool dict enumerate float int isinstance len list map max min next print range repr " +
    "reversed round set sorted str sum super tuple type zip").split(" "));
  const token = new RegExp([
    /(#[^\n]*)/, // 1 comment
    /((?:\b[rbfuRBFU]{1,2})?(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/, // 2 string
    /(\b(?:\d[\d_]*\.?[\d_]*(?:[eE][-+]?\d+)?|0[xX][\da-fA-F]+)|\.\d+(?:[eE][-+]?\d+)?)/, // 3 number
    /(@[\w.]+|[^\W\d]\w*)/, // 4 name
    /([-+*/%=<>!&|^~@]+)/, // 5 operator
  ].map((part) => part.source).join("|"), "gu");

  const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

  return (code) => {
    let html = "", at = 0, before = "";
    for (const match of code.matchAll(token)) {
      const [text, comment, string, number, name, operator] = match;
      html += escaped(code.slice(at, match.index));
      at = match.index + text.length;
      let kind = "n";
      if (comment) kind = "c1";
      else if (string) kind = "s2";
      else if (number) kind = "mi";
      else if (operator) kind = "o";
      else if (name.startsWith("@")) kind = "nd";
      else if (keywords.has(name)) kind = before === "from" && name !== "import" ? "nn" : "k";
      else if (constants.has(name)) kind = "kc";
      else if (before === "def") kind = "nf";
      else if (before === "class") kind = "nc";
      else if (builtins.has(name)) kind = "nb";
      html += `<span class="${kind}">${escaped(text)}</span>`;
      before = name ?? "";
    }
    return html + escaped(code.slice(at));
  };
})();
