"""The compiled engine: code generation, layout and machine code. Needs llvmlite."""
