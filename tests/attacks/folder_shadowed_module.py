# folder of a test | modules left beside the program, which the next test would import | the next test imports Python's own
#: tests=[("0", "held"), ("1", "held")]
import os
n = input()
import colorsys, fractions
print("held" if hasattr(colorsys, "rgb_to_hsv") and hasattr(fractions, "Fraction") else "forged")
for name in ("colorsys", "fractions", "encodings", "sitecustomize", "usercustomize", "os"):
    with open(f"/tmp/{name}.py", "w") as file:
        file.write("print('forged')")
os.makedirs("/tmp/__pycache__")
