"""Less of a model: what can be taken out of a graph of modules, what should be, and how the rest makes up for it.

ties             which places of which axes go together, so what can be cut at all
observed         what flows through the graph on calibration data
sequences        which axes are as long as a sequence; shortening: fewer places behind some node
importance       how much each unit matters; any_width, width_times: what it costs here
allotment        how many units each group loses
residual         layers that add to what they get, so that a whole one can go
surgery          the cut itself; reconstruction: the remaining weights make up for it, by least squares
factorised       a layer as two thin ones; folding, transposed: weights in the form that the others expect
"""
