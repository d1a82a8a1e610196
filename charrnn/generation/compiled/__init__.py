"""The compiled engine: code generation, weight layout and machine code. Needs llvmlite."""
