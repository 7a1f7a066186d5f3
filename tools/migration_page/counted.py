"""Public graphs by repository: how many hold old nodes, and how many of them are valid, migrated or not."""

COUNTED = """\
| cubiq/ComfyUI_Workflows 038cb77 | 3 | 3 |
| banodoco/Steerable-Motion 3c28833 | 21 | 21 |
| dseditor/ComfyuiWorkflows b2ea26f | 34 | 33 |
| nerdyrodent/AVeryComfyNerd 3ad2862 | 9 | 4 |
| purzbeats/purz-comfyui-workflows 27b2976 | 4 | 4 |
| ltdrdata/ComfyUI-extension-tutorials 5c79ad0 | 2 | 2 |
| Acly/comfyui-inpaint-nodes b32f293 | 1 | 1 |
"""
