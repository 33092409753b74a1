"""Features of the pictures: CPDT, capsule distance, morphology, margin, shape, echogenicity; and Kwak TI-RADS."""
