"""Tables in, tables out: capacities, survival, ranking, scaling, evidence, the verdict. Every number that a report shows is
computed here, and nothing here draws, prints or trains.
"""
