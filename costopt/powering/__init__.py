"""What serving draws from the mains, and what that emits: from published figures, always with their band.

grids             g CO2e per kWh of a country or a cloud's region (grid.csv)
buildings         a building around the machines: its grid, its PUE and its price of electricity
draws             the watts of a machine by its load (draws.csv)
carbon            watts to joules, kWh and grams: formulas in one place
footprints        a fleet's energy and CO2 a month, and whether limits on them are kept
power_caps        what limiting a GPU's power saves and costs in time (power_caps.csv)
routes            what requests and answers cost on their way, in dollars and kWh
energy_file       the sections `energy` and `data` of a traffic file
plan_power        the same for a plan: which site, and what its machines draw
capping           what such a cap would bring to a plan's fleet
energy_words      a plan's paragraph on energy and carbon; energy_facts the same for programs
"""
