"""LLNM Explorer: explainable prediction of lateral lymph node metastasis. Research and teaching only."""
