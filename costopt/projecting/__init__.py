"""How fast would it be on hardware that is not here? What chips can do, and which machine carries which.

hardware      chips and processor cores with their peak rates and memory (hardware.csv), and who carries them
"""
