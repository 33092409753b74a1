"""The synthetic cohort: patients, anatomy, pictures, reports and outcomes whose causes are known.

Nothing here comes from a patient. Marginals and constraints follow the published statistics (Shen et al. 2025); the
risk model that ties them together is ours, written out in `model.simulate.risk`.
"""
