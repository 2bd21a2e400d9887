"""What the types of ValidatingAdmissionPolicies' objects say of their expressions."""
