"""Build the procedural head anew and write its file: ``python -m vrn_lite.faces.procedural``."""

from vrn_lite.faces.procedural.builder import write

if __name__ == "__main__":
    write()
